"""The output that commands share."""

import shlex
from pathlib import Path

import pytest

from calpow.archiver.cli.results import file_size, next_commands


@pytest.mark.parametrize(
    ("count", "size"), [(10, "0.1 kB"), (4_321, "4.3 kB"), (1_000_000, "1.0 MB"), (12_345_678, "12.3 MB")]
)
def test_the_size_of_a_file_is_told_in_a_fitting_unit(tmp_path: Path, count: int, size: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(count))
    assert file_size(file) == size


def test_the_next_commands_can_be_pasted() -> None:
    command = ["calpow", "keys", "add", "ada and bob"]
    introduction, line = next_commands("Next:", command).splitlines()
    assert introduction == "Next:"
    assert shlex.split(line) == command
