"""Numbers outside the ranges of the commands' options are refused in one line that names the option."""

from pathlib import Path

import pytest

from calpow.archiver.cli.teachers import sample_range
from tests.archiver.cli.conftest import Refused


@pytest.mark.parametrize(
    ("command", "option", "value", "line"),
    [
        ("calibrate", "--rdp-order", "1", "1.0 is not in the range 1<x<=1000"),
        ("calibrate", "--rdp-order", "1001", "1001.0 is not in the range"),
        ("calibrate", "--rdp-order", "nan", "nan is not a number"),
        ("calibrate", "--overhead-budget", "1", "1.0 is not in the range 1<x<1000"),
        ("calibrate", "--overhead-budget", "inf", "inf is not in the range"),
        ("calibrate", "--overhead-budget", "nan", "nan is not a number"),
        ("calibrate", "--horizon", "99", "99 is not in the range 100<=x<=10000000"),
        ("calibrate", "--horizon", "10000001", "10000001 is not in the range"),
        ("calibrate", "--horizon", "many", "'many' is not a valid integer"),
        ("calibrate", "--seed", "-1", "-1 is not in the range"),
        ("teachers", "--teachers", "1", "1 is not in the range x>=2"),
        ("teachers", "--epochs", "0", "0 is not in the range x>=1"),
        ("teachers", "--seed", "-1", "-1 is not in the range"),
        ("teachers", "--seed", str(2**63), "is not in the range"),
        ("neighbours", "--k", "0", "0 is not in the range x>=1"),
        ("archive", "--max-samples", "0", "0 is not in the range x>=1"),
        ("archive", "--explanation-factor", "high", "'high' is not a valid float"),
    ],
)
def test_a_number_out_of_range_is_refused(
    refused: Refused,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    option: str,
    value: str,
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("data").mkdir()
    files = ["--calibration", "file"] if command == "archive" else ["--data", "data", "--output", "out"]
    message = refused(command, "--victim", "file", *files, option, value)
    assert f"Invalid value for '{option}': " in message
    assert line in message


@pytest.mark.parametrize(("sizes", "text"), [((9, 9), "9"), ((10, 9, 11), "9 to 11")])
def test_equal_sizes_of_teachers_are_one_number(sizes: tuple[int, ...], text: str) -> None:
    assert sample_range(sizes) == text
