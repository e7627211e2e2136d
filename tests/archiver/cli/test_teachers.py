"""The first command an owner runs refuses a victim that the gate could not follow."""

from pathlib import Path

import pytest

from tests.archiver.cli.conftest import Refused
from tests.support.victims import build as victims

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("at_home")]


def odd(folder: Path, flaw: str) -> Path:
    (folder / "odd").mkdir()
    return victims.odd(folder / "odd", flaw)


def refused_by_every_command(refused: Refused, victim: Path, output: Path) -> set[str]:
    """Return what each command that may be an owner's first says about a victim."""
    arguments = ("--victim", victim, "--data", "heldout", "--output", output)
    commands = (("calibrate", "--scores", "entropy"), ("neighbours",), ("teachers",))
    return {refused(*command, *arguments) for command in commands}


@pytest.mark.parametrize(
    ("flaw", "line"),
    [
        ("no model", "holds no model that can be followed"),
        ("two models", "holds several models (encoder, head): put them into one module"),
        ("no call", "answers without a call of its model: it must call the model itself"),
        ("forward", "answers without a call of its model: it must call the model itself"),
        ("refuses", ".txt: the handler refuses this payload, with status 422"),
        ("raises", ".txt: the model cannot answer this payload (IndexError)"),
    ],
)
def test_a_victim_whose_model_cannot_be_followed_is_refused_by_the_first_command(
    refused: Refused, tmp_path: Path, flaw: str, line: str
) -> None:
    answers = refused_by_every_command(refused, odd(tmp_path, flaw), tmp_path / "out.pt")
    assert all(line in answer for answer in answers), answers


def test_a_function_handler_without_a_model_is_refused_by_the_first_command(refused: Refused, tmp_path: Path) -> None:
    (answer,) = refused_by_every_command(refused, victims.bare_function(tmp_path), tmp_path / "out.pt")
    assert "holds no model that can be followed: load it in initialize, and keep it as self.model" in answer


def test_an_asynchronous_handler_is_refused_by_the_first_command(refused: Refused, tmp_path: Path) -> None:
    (answer,) = refused_by_every_command(refused, victims.asynchronous(tmp_path), tmp_path / "out.pt")
    assert "the victim's handler is asynchronous" in answer
