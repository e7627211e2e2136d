"""Results of predictions as JSON lines, and the file of them that a later run continues."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from typing import NoReturn

from calpow.client.errors import OutputUnusable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LINE_START = b'{"file": '  # of every line of results


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome for one file: the body of an answer, or an error in one line.

    status: of the last HTTP response; None when the exchange did not come to an end.
    """

    file: str
    status: int | None
    body: bytes = b""
    error: str | None = None

    def to_line(self) -> bytes:
        """Return one line of JSON, in ASCII, so that it can hold a file name of any bytes."""
        fields: dict[str, object] = {"file": self.file, "status": self.status}
        fields |= _answer_fields(self.body) if self.error is None else {"error": self.error}
        return json.dumps(fields).encode("ascii") + b"\n"


class ResultWriter:
    """Writes results to a file, one line each, as they come. Safe for threads."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._closed = False

    def write(self, result: Result) -> None:
        """Write a whole line, or nothing once the writer is closed.

        Raises OSError, which closes the writer: nothing follows a torn line.
        """
        rest = memoryview(result.to_line())
        with self._lock:
            try:
                while rest and not self._closed:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                self._closed = True
                raise

    def close(self) -> None:
        """Wait for the line that is being written; later ones are dropped."""
        with self._lock:
            self._closed = True


@contextmanager
def continued_results(path: str) -> Iterator[tuple[ResultWriter, frozenset[str]]]:
    """Open a file of results to append to it; give a writer and the names of the files that have an answer in it.

    A last line that a crash has torn is cut off; one that lacks only its line end is kept. Raises OutputUnusable and
    OSError.
    """
    with FileIO(path, "a+") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OutputUnusable(f"{path} is not a regular file: name another one, or leave out --output")
        if not _lock(file.fileno()):
            raise OutputUnusable(f"another calpow is writing {path}: wait for its end, or choose another --output")
        answered = _repair(file, path)
        yield ResultWriter(file), answered


def _repair(file: FileIO, path: str) -> frozenset[str]:
    """Make the file end with a whole line; return the names of the files that have an answer in it."""
    answered = set()
    size = 0
    last = b"\n"
    with open(file.name, "rb") as lines:  # buffered, with a position of its own
        for number, line in enumerate(lines, 1):
            result = _parse(line)
            if result is not None:
                size += len(line)
                last = line
                answered |= set() if "error" in result else {str(result["file"])}
            elif not _is_torn(line):
                raise OutputUnusable(f"{path}, line {number}: not a result of calpow predict; choose another --output")
    file.truncate(size)
    if not last.endswith(b"\n"):
        file.write(b"\n")
    return frozenset(answered)


def _parse(line: bytes) -> dict[str, object] | None:
    try:
        result: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return result if isinstance(result, dict) and isinstance(result.get("file"), str) else None


def _is_torn(line: bytes) -> bool:
    return not line.endswith(b"\n") and (line.startswith(_LINE_START) or _LINE_START.startswith(line))


def _answer_fields(body: bytes) -> dict[str, object]:
    """Return a body as JSON if it is, otherwise as text, otherwise in base64."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return {"encoding": "base64", "answer": base64.b64encode(body).decode("ascii")}
    try:
        answer: object = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(answer, allow_nan=False)  # 1e999 is read as an infinity
    except (ValueError, RecursionError):
        return {"answer": text}
    return {"answer": answer}


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        os.lseek(descriptor, 1 << 62, os.SEEK_SET)  # beyond the end, because locked bytes cannot be read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _lock(descriptor: int) -> bool:
        """Lock the file for this process until it is closed; return False if another process has it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
