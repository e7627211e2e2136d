"""Debian's program `hashcash` accepts our stamps, and we accept its stamps."""

import shutil
import subprocess
from pathlib import Path

import pytest

from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve

RESOURCE = "5f0c0123456789abcdef0123456789ab"

pytestmark = pytest.mark.skipif(
    shutil.which("hashcash") is None, reason="the program hashcash is not installed (apt install hashcash)"
)


def hashcash(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["hashcash", *arguments], check=False, capture_output=True, text=True)


@pytest.mark.parametrize("bits", [5, 12])
def test_stamps_of_the_program_are_accepted(bits: int) -> None:
    stamps = [hashcash("-mqC", "-b", str(bits), "-r", RESOURCE, "-x", str(ext)).stdout.strip() for ext in range(3)]
    Puzzle("hashcash-sha1", RESOURCE, bits, 3).verify(stamps)


def test_the_longest_stamps_of_the_program_are_accepted() -> None:
    resource = "0123456789abcdef" * 8
    stamp = hashcash("-mqC", "-z", "12", "-b", "10", "-r", resource, "-x", "0").stdout.strip()
    Puzzle("hashcash-sha1", resource, 10, 1).verify([stamp])


def test_the_program_accepts_our_stamps_and_each_only_once(tmp_path: Path) -> None:
    stamps = solve(Puzzle("hashcash-sha1", RESOURCE, 12, 3))
    options = ["-cdqCS", "-b", "12", "-r", RESOURCE, "-f", str(tmp_path / "spent.sdb")]
    assert [hashcash(*options, stamp).returncode for stamp in stamps] == [0, 0, 0]
    assert [hashcash(*options, stamp).returncode for stamp in stamps] == [1, 1, 1]
