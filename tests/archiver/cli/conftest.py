"""Fixtures of the owner's commands: a victim with its data and parts, and commands that are refused in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from calpow.client.cli.main import main
from tests.support.command_line import error_line
from tests.support.victims import build as victims

Refused = Callable[..., str]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a victim, held-out data of its classes, teachers and reference points."""
    home = tmp_path_factory.mktemp("home")
    victims.vector_class(home, "victim")
    victims.vectors(home / "train")
    victims.vectors(home / "heldout", per_class=12)
    arguments = ["--victim", str(home / "victim.mar"), "--data", str(home / "train")]
    assert main(["teachers", *arguments, "--teachers", "3", "--output", str(home / "teachers.pt")]) == 0
    assert main(["neighbours", *arguments, "--k", "5", "--output", str(home / "neighbours.pt")]) == 0
    return home


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that runs a command which must fail with one line, and returns the line.

    Nothing may have been written to the file `out` in the test's folder.
    """

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("calpow:")]
        assert not (tmp_path / "out").exists()
        return error_line("\n".join([*lines, ""]))

    return run


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
