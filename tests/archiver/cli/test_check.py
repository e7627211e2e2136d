"""`calpow check`: what it prints, and its exit code."""

import shlex
from pathlib import Path

import pytest

from calpow.client.cli.main import main
from tests.archiver.cli.conftest import Refused
from tests.support.victims import build as victims


def test_it_says_what_it_found_and_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    victims.vector_class(tmp_path, "victim")
    victims.vectors(tmp_path / "train")
    monkeypatch.chdir(tmp_path)

    assert main(["check", "victim.mar", "--data", "train"]) == 0

    *facts, verdict, command = capsys.readouterr().out.splitlines()
    named = dict(line.split("  ", 1) for line in facts if not line.startswith("note:"))
    assert set(named) == {
        "model",
        "payloads",
        "inputs",
        "output",
        "features",
        "depths",
        "batches",
        "lists",
        "state",
        "time",
        "teachers",
    }
    assert named["inputs"].strip() == "float32 [1, 4]; 1 call of the model and 1 sample a payload"
    assert verdict == "Nothing stands against protecting victim.mar. Next:"
    assert main([*shlex.split(command.strip().removeprefix("calpow ")), "--teachers", "3"]) == 0
    assert Path("teachers.pt").is_file()


def test_what_stands_against_protection_is_named_in_one_line(tmp_path: Path, refused: Refused) -> None:
    mar = victims.bare_function(tmp_path)
    victims.vectors(tmp_path / "train", per_class=3)

    assert "model" in refused("check", mar, "--data", tmp_path / "train")


def test_classes_in_another_order_are_said_with_the_order_that_fits(
    tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    mar = victims.vector_class(tmp_path)
    victims.vectors(tmp_path / "train")
    (tmp_path / "train" / "0").rename(tmp_path / "train" / "zero")
    monkeypatch.chdir(tmp_path)

    assert "by another" in refused("check", mar, "--data", tmp_path / "train")

    proposed = tmp_path / f"{mar.name}.classes.json"
    assert main(["check", str(mar), "--data", "train", "--classes", str(proposed)]) == 0
