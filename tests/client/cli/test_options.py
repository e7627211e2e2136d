"""The limits of work: numbers above 0."""

from pathlib import Path

import pytest

from calpow.client.cli.main import main
from tests.support.command_line import error_line


@pytest.mark.parametrize("option", ["--max-hashes", "--max-seconds"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", ""])
def test_limits_are_numbers_above_0(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c").touch()
    assert main(["solve", "c", f"{option}={value}"]) == 2
    line = error_line(capsys.readouterr().err)
    assert f"'{option}'" in line
    assert value in line
