"""The benchmark of a slow victim: the phases that it reads from progress, its goals, and its payloads."""

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.resnet.__main__ import main, multiples
from benchmarks.resnet.phases import TimedRun, run_timed
from benchmarks.resnet.victim import HELD_OUT, SENT, TRAIN, TRAINING, USERS, write_digits
from benchmarks.serving.prepay import User

COMMAND = """
from calpow.archiver import progress
progress.LONG_SECONDS = 0.0
for phase in ("reading", "latency, round 2", "reading"):
    list(progress.track([1], phase, "payload"))
"""


def test_the_phases_of_a_command_are_those_that_its_progress_names() -> None:
    run = run_timed([sys.executable, "-c", COMMAND], os.environ)
    assert list(run.phases) == ["reading", "latency, round 2"]
    assert run.seconds >= sum(run.phases.values())


def test_a_command_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="exit code 3"):
        run_timed([sys.executable, "-c", "raise SystemExit(3)"], os.environ)


def test_a_folder_of_somebody_is_not_built_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / TRAIN).mkdir()
    with pytest.raises(SystemExit, match="2"):
        main(["--folder", str(tmp_path)])
    assert "give a new folder" in capsys.readouterr().err
    assert (tmp_path / TRAIN).exists()


def test_a_table_has_a_line_for_each_phase_and_for_what_is_between_them() -> None:
    lines = TimedRun(10.0, 7.0, {"reading": 4.0, "pricing": 5.0}).table()
    assert [line.split()[-2] for line in lines[:3]] == ["4.0", "5.0", "1.0"]
    assert "7.0 s of processor time" in lines[-1]


def test_paying_users_are_compared_with_the_one_who_does_not_pay() -> None:
    users = [User(name, "", seconds=seconds) for name, seconds in (("no", [2.0]), ("each", [3.0]), ("before", [2.2]))]
    challenged, prepaid = multiples(users)
    assert "1.50x (goal: at most 2x)" in challenged
    assert "1.10x (goal: at most 1.3x)" in prepaid


def test_payloads_are_enlarged_digits_in_three_parts(tmp_path: Path) -> None:
    write_digits(tmp_path, 1_200)
    counts = {part: len(list((tmp_path / part).rglob("*.jpg"))) for part in (TRAIN, HELD_OUT, SENT)}
    assert counts == {TRAIN: TRAINING, HELD_OUT: 1_200, SENT: USERS}
    with Image.open(next((tmp_path / HELD_OUT / "7").iterdir())) as image:
        assert (image.size, image.mode) == ((256, 256), "RGB")
