"""Latency is measured on a real TorchServe, beside the archive that guards the victim."""

import random
from pathlib import Path

import pytest

from calpow.archiver.calibration.timing.latency import PRECISION, Latency, side_by_side
from calpow.archiver.data.payloads import Payload
from calpow.archiver.errors import MeasuringError
from calpow.puzzle.profiles import PROFILES
from tests.support.guarded import protect
from tests.support.quick_timing import REQUESTS, quick_timing
from tests.support.victims.build import counting

KIND = PROFILES["hashcash-sha1"].kind


@pytest.mark.server
def test_a_victim_that_refuses_its_payloads_is_not_timed(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("no vector")
    with (
        side_by_side(home / "victim.mar", home / "victim.mar", KIND) as server,
        pytest.raises(MeasuringError, match=r"answers \d+ to .*p\.txt \(\S.*\): mend it first"),
    ):
        server.measure([Payload(file, 0, "unit")], 0)


@pytest.mark.server
def test_a_payload_of_more_samples_than_it_shows_is_timed_once_its_price_is_known(home: Path, tmp_path: Path) -> None:
    """Nothing tells the gate of the samples but its pass: it withholds the first answer and asks for the rest."""
    victim = counting(tmp_path, "counting", workers=1, batch=1)
    (tmp_path / "guarded").mkdir()
    protected = protect(tmp_path / "guarded", "counting", victim, home / "teachers.pt")
    file = tmp_path / "payload.txt"
    file.write_text("\n".join(["0.1,0.9,0.2,0.3"] * 7))
    with quick_timing(), side_by_side(victim, protected.guarded, KIND) as server:
        latency = server.measure([Payload(file, 0, "unit")], 0)
    assert latency.requests == REQUESTS
    assert 0 < latency.low <= latency.median <= latency.high


def pairs(count: int, spread: float) -> list[tuple[float, float]]:
    """Return times of 10 ms without the gate and 15 ms with it, which vary by this share."""
    rng = random.Random(0)
    return [
        (0.010 * rng.uniform(1 - spread, 1 + spread), 0.015 * rng.uniform(1 - spread, 1 + spread)) for _ in range(count)
    ]


def test_the_latency_is_as_certain_as_its_requests_agree() -> None:
    steady, loaded = Latency.of_pairs(pairs(100, 0.05)), Latency.of_pairs(pairs(100, 0.9))
    assert steady.uncertainty <= PRECISION < loaded.uncertainty
    assert Latency.of_pairs(pairs(1_000, 0.9)).uncertainty < loaded.uncertainty / 2
    assert steady.median == pytest.approx(0.010, rel=0.05)
    assert steady.added == pytest.approx(0.005, rel=0.1)


def test_a_gate_that_seems_to_save_time_adds_none() -> None:
    assert Latency.of_pairs([(0.002, 0.001), (0.003, 0.001)]).added == 0.0
