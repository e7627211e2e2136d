"""A whole calibration: what is saved is loaded, and whatever is wrong with its owner's parts is said in one line."""

from pathlib import Path

import pytest

from calpow.archiver.calibration.calibration_document import Calibration
from calpow.handler.errors import CalibrationError
from calpow.handler.policy.calibrated_policy import PolicyName
from calpow.handler.policy.calibration_file import SCHEMA, load_policy
from calpow.puzzle.profiles import PROFILES
from tests.support.calibration_files import Change, drop, put, save_changed
from tests.support.calibrations import calibration


def refused(path: Path) -> str:
    """Return the one line that says what is wrong with a file."""
    with pytest.raises(CalibrationError) as caught:
        Calibration.load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert "calpow calibrate" in text
    return text


@pytest.mark.parametrize("profile", list(PROFILES))
def test_every_kind_of_puzzle_is_loaded_as_it_was_saved(tmp_path: Path, profile: str) -> None:
    saved = calibration(puzzle=PROFILES[profile].kind)
    saved.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == saved
    assert load_policy(tmp_path / "c.json") == saved.policy


@pytest.mark.parametrize("name", list(PolicyName))
def test_what_is_saved_is_loaded(tmp_path: Path, name: PolicyName) -> None:
    saved = calibration(name=name, provenance={"samples": 450, "mean_cost": 1.7, "machine": "here"})
    saved.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == saved
    assert [file.name for file in tmp_path.iterdir()] == ["c.json"]


@pytest.mark.parametrize(
    "name",
    [
        "schema",
        "policy",
        "policy.cap",
        "measurement",
        "measurement.latency_seconds",
        "measurement.added_seconds",
        "measurement.sources",
        "measurement.sources.victim",
        "measurement.sources.ensemble",
        "measurement.provenance",
        "rehearsal",
        "rehearsal.score_name",
        "rehearsal.horizon",
        "rehearsal.overhead_budget",
        "rehearsal.checkpoints",
        "rehearsal.profiles",
        "rehearsal.tolerated",
        "rehearsal.intolerant",
        "rehearsal.teacher_accuracy",
        "rehearsal.vote_accuracy",
        "rehearsal.warnings",
    ],
)
def test_every_missing_member_is_named(tmp_path: Path, name: str) -> None:
    assert f"{name} is missing" in refused(save_changed(tmp_path, drop(name)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("schema", 7), f"has schema 7, this version reads {SCHEMA}: make it again with calpow calibrate"),
        (put("comment", "whatever"), "comment is not known"),
        (put("measurement.comment", "whatever"), "measurement.comment is not known"),
        (put("measurement.provenance", []), "measurement.provenance must be an object"),
        (put("measurement.provenance.samples", [450]), "measurement.provenance.samples must be one of str, int, float"),
        (put("measurement.latency_seconds", 0.0), "measurement.latency_seconds must be more than 0"),
        (put("rehearsal.horizon", 1e4), "rehearsal.horizon must be of type int"),
        (put("rehearsal.profiles", [{"name": "noise"}]), "rehearsal.profiles[0]."),
        (put("policy.cap", 0.5), "policy.cap must be at least 1"),
    ],
)
def test_whatever_is_wrong_is_named(tmp_path: Path, change: Change, message: str) -> None:
    assert message in refused(save_changed(tmp_path, change))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nothing.json")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"cannot be written .* --output"):
        calibration().save(tmp_path / "nowhere" / "c.json")
    (tmp_path / "c.json").mkdir()
    with pytest.raises(CalibrationError, match="cannot be written"):
        calibration().save(tmp_path / "c.json")
    assert [file.name for file in tmp_path.iterdir()] == ["c.json"]


def test_a_calibration_made_in_memory_is_checked_too() -> None:
    with pytest.raises(CalibrationError, match="latency_seconds must be more than 0"):
        calibration(latency_seconds=0.0)
    with pytest.raises(CalibrationError, match="floor_seconds must be more than 0"):
        calibration(floor_seconds=0.0)
