"""A file of results that can be gone on with: what it holds, who writes to it, and how a torn line is mended."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO

from calpow.client.cli.results import Lines
from calpow.puzzle.errors import CalpowError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_BEGINNING = b'{"file": '  # of every line of ours


class OutputUnusable(CalpowError):
    """The output is being written by another process, or is no file of results."""


@contextmanager
def resumed(path: str) -> Iterator[tuple[Lines, frozenset[str]]]:
    """Open a file of results to append to it, and tell which files have an answer in it.

    A last line that a crash has torn is cut off; one that lacks nothing but its end is kept. Raises OutputUnusable,
    and OSError.
    """
    with FileIO(path, "a+") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OutputUnusable(f"{path} is no file that results can be kept in: name one, or leave out --output")
        if not _lock(file.fileno()):
            raise OutputUnusable(f"another calpow is writing {path}: let it end, or choose another --output")
        answered = _mend(file, path)
        yield Lines(file), answered


def _mend(file: FileIO, path: str) -> frozenset[str]:
    """Make the file end with a whole line; return the files that are answered in it."""
    answered = set()
    whole = 0
    last = b"\n"
    for number, line in enumerate(_lines(file), 1):
        result = _read(line)
        if result is not None:
            whole += len(line)
            last = line
            answered |= set() if "error" in result else {str(result["file"])}
        elif not _is_torn(line):
            raise OutputUnusable(f"{path}, line {number}: no result of calpow predict; choose another --output")
    file.truncate(whole)
    if not last.endswith(b"\n"):
        file.write(b"\n")
    return frozenset(answered)


def _lines(file: FileIO) -> Iterator[bytes]:
    with open(file.name, "rb") as reader:  # buffered, and a position of its own
        yield from reader


def _read(line: bytes) -> dict[str, object] | None:
    try:
        result: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return result if isinstance(result, dict) and isinstance(result.get("file"), str) else None


def _is_torn(line: bytes) -> bool:
    return not line.endswith(b"\n") and (line.startswith(_BEGINNING) or _BEGINNING.startswith(line))


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        os.lseek(descriptor, 1 << 62, os.SEEK_SET)  # beyond the end: there, what is locked cannot be read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _lock(descriptor: int) -> bool:
        """Take the file for this process, until it is closed; False if another has it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
