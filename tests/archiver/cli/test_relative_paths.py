"""Paths of the command line count from where a command was called, although victims are opened in their own folder."""

import json
import zipfile
from pathlib import Path

import pytest

from calpow.client.cli.main import main
from tests.archiver.cli.conftest import Refused
from tests.support.quick_timing import quick_timing
from tests.support.victims import build as victims

NETWORK = """
import torch

def small(classes, input_shape):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, classes))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with a victim, data, a network's file and a folder for results, in sub-folders."""
    for name in ("own", "results"):
        (tmp_path / name).mkdir()
    victims.vector_class(tmp_path / "own", "victim")
    victims.vectors(tmp_path / "data" / "train", per_class=20)
    victims.vectors(tmp_path / "data" / "heldout", per_class=12)
    victims.vectors(tmp_path / "data" / "strangers", per_class=3)
    (tmp_path / "own" / "nets.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.training
def test_files_that_train_are_found_and_written_from_where_the_command_was_called(here: Path) -> None:
    own = ["--victim", "own/victim.mar", "--data", "data/train"]
    network = ["--trunk", "none", "--network", "own/nets.py:small", "--epochs", "1", "--teachers", "2"]
    assert main(["teachers", *own, *network, "--output", "results/teachers.pt"]) == 0
    assert main(["neighbours", *own, "--k", "3", "--output", "results/neighbours.pt"]) == 0
    assert {file.name for file in (here / "results").iterdir()} == {"teachers.pt", "neighbours.pt"}


@pytest.mark.server
def test_files_that_calibrate_and_archive_are_found_and_written_from_where_the_command_was_called(here: Path) -> None:
    own = ["--victim", "own/victim.mar", "--scores", "entropy", "--data", "data/heldout"]
    with quick_timing():
        attack = ["--attack", "strangers=data/strangers"]
        assert main(["calibrate", *own, *attack, "--output", "results/measured.json"]) == 0
    rehearsal = json.loads(Path("results/measured.json").read_text())["rehearsal"]
    assert "strangers" in {profile["name"] for profile in rehearsal["profiles"]}
    assert main(["report", "results/measured.json", "-o", "results/report.html"]) == 0
    parts = ["--victim", "own/victim.mar", "--calibration", "results/measured.json", "--accept-weak"]
    assert main(["archive", *parts, "--export-path", "results", "--ledger", "sqlite:///results/ledger.db"]) == 0
    with zipfile.ZipFile("results/victim.mar") as archive:
        assert json.loads(archive.read("calpow.json"))["ledger"] == f"sqlite:///{here}/results/ledger.db"
    assert {file.name for file in (here / "results").iterdir()} == {"measured.json", "report.html", "victim.mar"}


def test_keys_are_kept_where_the_command_was_called(here: Path) -> None:
    assert main(["keys", "add", "ada", "--ledger", "sqlite:///results/ledger.db"]) == 0
    assert (here / "results" / "ledger.db").is_file()


@pytest.mark.training
def test_a_records_file_that_is_none_is_refused_with_its_name(here: Path, refused: Refused) -> None:
    (here / "own" / "records.jsonl").write_text('{"error": "this is a log"}\n')
    line = refused(
        *("calibrate", "--victim", "own/victim.mar", "--scores", "entropy", "--data", "data/heldout"),
        *("--from-records", "own/records.jsonl", "--output", "measured.json"),
    )
    assert line.startswith(f"{here}/own/records.jsonl is not a file of records (error is not known)")
