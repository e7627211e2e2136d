"""`calpow calibrate` with victims, parts and data that do not fit each other: one line, and nothing written."""

import shutil
from pathlib import Path

import pytest

from tests.archiver.cli.conftest import Refused
from tests.support.victims import build as victims

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("at_home")]


def odd(folder: Path, flaw: str) -> Path:
    (folder / "odd").mkdir()
    return victims.odd(folder / "odd", flaw)


@pytest.mark.parametrize(
    ("flaw", "line"),
    [
        ("one number", "one number a sample; a two-class model must answer with both classes"),
        ("sigmoids", "numbers from 0 to 1 that do not sum to 1, as of several labels at once"),
        ("no batch", "one number a sample"),
        ("three axes", "of shape (48, 4, 1)"),
        ("nan", "NaN or infinity for some inputs; repair it"),
        ("constant", "the same for every input"),
        ("classes", "a bare class without probabilities"),
        ("five", "5 numbers a sample for 4 classes; give data of the victim's classes"),
        ("raises", "the model cannot answer this payload (IndexError)"),
        ("list", "no distribution over classes: no tensor"),
        ("fewer", "one row of numbers a sample"),
    ],
)
def test_a_victim_that_gives_no_distribution_is_refused(refused: Refused, tmp_path: Path, flaw: str, line: str) -> None:
    victim = odd(tmp_path, flaw)
    arguments = ("calibrate", "--victim", victim, "--data", "heldout", "--output", tmp_path / "out")
    assert line in refused(*arguments, "--scores", "entropy")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--scores", "pknn", "--neighbours", "teachers.pt"), "is no reference set"),
        (("--scores", "pate", "--ensemble", "neighbours.pt"), "holds neither weights nor a program"),
        (("--scores", "gap", "--attack", "a=nowhere"), "nowhere is not a folder"),
        (("--scores", "gap", "--attack", "noise=heldout"), "noise is a reference attacker's name"),
    ],
)
def test_parts_and_attacks_that_cannot_be_used(
    refused: Refused, tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    arguments = ("calibrate", "--victim", "victim.mar", "--data", "heldout", "--output", tmp_path / "out")
    assert line in refused(*arguments, *options)


def test_data_of_other_classes_than_the_reference_points(refused: Refused, home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "heldout", tmp_path / "data")
    (tmp_path / "data" / "3").rename(tmp_path / "data" / "cat")
    arguments = ("calibrate", "--victim", "victim.mar", "--data", tmp_path / "data", "--output", tmp_path / "out")
    line = refused(*arguments, "--scores", "pknn", "--neighbours", "neighbours.pt")
    assert "classes 0, 1, 2, cat, the reference points were taken on 0, 1, 2, 3" in line


def test_reference_points_of_another_victim(refused: Refused, tmp_path: Path) -> None:
    other = odd(tmp_path, "logits")
    arguments = ("calibrate", "--victim", other, "--data", "heldout", "--output", tmp_path / "out")
    line = refused(*arguments, "--scores", "pknn", "--neighbours", "neighbours.pt")
    assert "the reference points were taken for another victim" in line


def test_too_few_samples_and_an_attack_of_another_form(refused: Refused, tmp_path: Path) -> None:
    few = victims.vectors(tmp_path / "few", per_class=9)
    arguments = ("calibrate", "--victim", "victim.mar", "--scores", "gap", "--output", tmp_path / "out")
    assert "class 0 has 9 independent samples to calibrate with: give at least 10" in refused(*arguments, "--data", few)
    (tmp_path / "attack").mkdir()
    (tmp_path / "attack" / "a.txt").write_text("not numbers")
    line = refused(*arguments, "--data", "heldout", "--attack", f"text={tmp_path / 'attack'}")
    assert "a.txt: the model cannot read this payload" in line
