"""What became of a file, and the JSON lines that say so."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass
from io import FileIO
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class Result:
    """The server's last word on a file: an answer's body, or an error in one line.

    `status` is that of HTTP, None where the question did not come to an end.
    """

    file: str
    status: int | None
    body: bytes = b""
    error: str | None = None

    def to_line(self) -> bytes:
        """Return one line of JSON, in ASCII, so that a file's name of any bytes can stand in it."""
        fields: dict[str, object] = {"file": self.file, "status": self.status}
        fields |= _answer(self.body) if self.error is None else {"error": self.error}
        return json.dumps(fields).encode("ascii") + b"\n"


class Lines:
    """Writes results to a file, a line each, as they come; for any number of threads."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._closed = False

    def write(self, result: Result) -> None:
        """Write a whole line, or none if these lines are closed. After an OSError they are: a torn line is the last."""
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


def _answer(body: bytes) -> dict[str, object]:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return {"encoding": "base64", "answer": base64.b64encode(body).decode("ascii")}
    try:
        answer: object = json.loads(text, parse_constant=_not_json)
        json.dumps(answer, allow_nan=False)  # 1e999 is read as an infinity
    except (ValueError, RecursionError):
        return {"answer": text}
    return {"answer": answer}


def _not_json(constant: str) -> NoReturn:
    raise ValueError(constant)
