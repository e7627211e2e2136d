"""The owner's data as it is: parts of forms, classes in another order, bad files and too few of them."""

import shutil
from pathlib import Path

import pytest

from calpow.client.cli.main import main
from tests.archiver.cli.conftest import Refused
from tests.support import own_models

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("at_home")]


@pytest.fixture
def data(home: Path, tmp_path: Path) -> Path:
    """Return a copy of the training data, to be changed."""
    return Path(shutil.copytree(home / "train", tmp_path / "data"))


def test_a_handler_that_reads_a_form_is_met_with_its_part(tmp_path: Path, refused: Refused) -> None:
    form = own_models.part(tmp_path / "form")
    arguments = ("--victim", form.victim, "--data", form.folder / "train")
    for command in (("teachers",), ("neighbours",), ("calibrate", "--scores", "entropy")):
        line = refused(*command, *arguments, "--output", tmp_path / "out.pt")
        assert line.endswith("its handler looks for 'image': give --part image")
    given = [str(argument) for argument in (*arguments, "--part", "image", "--output", tmp_path / "teachers.pt")]
    assert main(["teachers", *given, "--teachers", "3"]) == 0


def test_classes_in_another_order_than_the_folders_are_found_and_put_right(
    data: Path, tmp_path: Path, refused: Refused
) -> None:
    (data / "0").rename(data / "zero")
    arguments = ("--victim", "victim.mar", "--data", data)
    for command in (("teachers",), ("neighbours", "--k", "5"), ("calibrate", "--scores", "entropy")):
        line = refused(*command, *arguments, "--output", tmp_path / "out.pt")
        assert "by another, which moves 4 classes (0 zero, 1 1, 2 2, 3 3)" in line
    proposed = tmp_path / "out.pt.classes.json"
    assert line.endswith(f"check {proposed}, and give --classes {proposed}")
    given = [str(argument) for argument in (*arguments, "--classes", proposed, "--output", tmp_path / "teachers.pt")]
    assert main(["teachers", *given, "--teachers", "3"]) == 0


def test_all_bad_files_are_listed_at_once(data: Path, tmp_path: Path, refused: Refused) -> None:
    for label in range(4):
        (data / str(label) / "0.txt").write_text(f"no vector, {label}")
    for command in (("teachers",), ("neighbours", "--k", "5"), ("calibrate", "--scores", "entropy")):
        line = refused(*command, "--victim", "victim.mar", "--data", data, "--output", tmp_path / "out.pt")
        assert "4 of 240 payloads cannot be used: mend or remove them: " in line
        assert all(f"{data / str(label) / '0.txt'}: " in line for label in range(4))


def test_too_few_payloads_for_teachers_are_said_with_the_number_that_would_do(
    data: Path, tmp_path: Path, refused: Refused
) -> None:
    for file in sorted((data / "2").iterdir())[2:]:
        file.unlink()
    line = refused("teachers", "--victim", "victim.mar", "--data", data, "--output", tmp_path / "out.pt")
    assert line.startswith("too few payloads for 2 teachers in class 2: class 2 has 2,")
    assert line.endswith("give at least 5 of each class; with 22, there are 10 teachers")


def test_fewer_folders_than_the_victim_has_classes_are_refused(data: Path, tmp_path: Path, refused: Refused) -> None:
    shutil.rmtree(data / "3")
    line = refused("teachers", "--victim", "victim.mar", "--data", data, "--output", tmp_path / "out.pt")
    assert "4 numbers a sample for 3 classes" in line


def test_what_is_left_out_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "README.txt").touch()
    (data / "1" / "Thumbs.db").touch()
    output = str(tmp_path / "teachers.pt")
    assert main(["teachers", "--victim", "victim.mar", "--data", str(data), "--output", output, "--teachers", "3"]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: left out")]
    assert notes == [
        "note: left out entry README.txt, beside the class folders",
        "note: left out entry 1/Thumbs.db, hidden, or left by a file manager",
    ]
