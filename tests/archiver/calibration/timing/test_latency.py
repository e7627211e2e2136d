"""Latency is measured on a real TorchServe, beside the archive that guards the victim."""

from pathlib import Path

import pytest

from calpow.archiver.calibration.timing.latency import measure_latency
from calpow.archiver.errors import MeasuringError
from calpow.puzzle.profiles import PROFILES
from tests.support.guarded import protect
from tests.support.quick_timing import REQUESTS, quick_timing
from tests.support.victims.build import counting

pytestmark = pytest.mark.server

KIND = PROFILES["hashcash-sha1"].kind


def test_a_victim_that_refuses_its_payloads_is_not_timed(home: Path, tmp_path: Path) -> None:
    payload = tmp_path / "p.txt"
    payload.write_text("no vector")
    with pytest.raises(MeasuringError, match=r"answers \d+ to .*p\.txt"):
        measure_latency(home / "victim.mar", home / "victim.mar", KIND, [payload], 0)


def test_a_payload_of_more_samples_than_it_shows_is_timed_once_its_price_is_known(home: Path, tmp_path: Path) -> None:
    """Nothing tells the gate of the samples but its pass: it withholds the first answer and asks for the rest."""
    victim = counting(tmp_path, "counting", workers=1, batch=1)
    (tmp_path / "guarded").mkdir()
    protected = protect(tmp_path / "guarded", "counting", victim, home / "teachers.pt2")
    payload = tmp_path / "payload.txt"
    payload.write_text("\n".join(["0.1,0.9,0.2,0.3"] * 7))
    with quick_timing():
        latency = measure_latency(victim, protected.guarded, KIND, [payload], 0)
    assert latency.requests == REQUESTS
    assert 0 < latency.low <= latency.median <= latency.high
