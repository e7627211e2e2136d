"""Files that are replaced once the new one is complete, and nothing beside them."""

import os
from pathlib import Path

import pytest
from torch import nn

from calpow.archiver.teachers.export import write_ensemble
from calpow.archiver.whole_file import whole_file
from calpow.handler.leakage.teachers.heads import NetworkEnsemble
from tests.support.calibrations import calibration
from tests.support.ensembles import TEACHERS, ensemble_card


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with whole_file(path) as scratch:
        scratch.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_of_what_could_not_be_finished_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "file"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_others_can_read_it_as_any_file_of_its_owner(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with whole_file(tmp_path / "file") as scratch:
        scratch.touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_calibration_is_written_through_no_link_that_others_have_left(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "shared"
    folder.mkdir()
    elsewhere.write_text("mine")
    (folder / f".calibration.json.{os.getpid()}").symlink_to(elsewhere)
    calibration().save(folder / "calibration.json")
    assert elsewhere.read_text() == "mine"


def test_teachers_are_written_beside_files_of_other_names(tmp_path: Path) -> None:
    """As `calpow teachers --output env` beside a file `.env`."""
    mine = tmp_path / ".env"
    mine.write_text("mine")
    networks = NetworkEnsemble([nn.Sequential(nn.Flatten(), nn.Linear(64, 3)) for _ in range(TEACHERS)], 3)
    write_ensemble(networks, ensemble_card(trunk="none", network="net.py:small", epochs=2), None, tmp_path / "env")
    assert mine.read_text() == "mine"
    assert (tmp_path / "env").stat().st_size > 0
    assert sorted(tmp_path.iterdir()) == [mine, tmp_path / "env"]
