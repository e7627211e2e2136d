"""The help of a benchmark is the documentation of its module."""

import pytest

from benchmarks.command_line import command_parser

DOCUMENTATION = """Measure something.

python -m benchmarks.something            a minute
python -m benchmarks.something --quick    seconds
"""


def test_the_help_begins_with_the_first_paragraph_and_ends_with_the_examples_as_they_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        command_parser("benchmarks.something", DOCUMENTATION).parse_args(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert shown.startswith("usage: benchmarks.something [-h]\n\nMeasure something.\n")
    assert shown.endswith(DOCUMENTATION.partition("\n\n")[2])
