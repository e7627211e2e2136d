"""Sending files to a protected model, from any number of threads."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any

import requests

from calpow.client.cli.compute_lock import ComputeLock, ComputeLockAdapter
from calpow.client.errors import FolderGiven
from calpow.client.requests import PowAuth

STANDARD_INPUT = "-"

# Seconds to connect, and to wait for the answer: longer than TorchServe itself lets a model think.
_TIMEOUT = (10, 300)


class FileSender:
    """Sends files to one URL and does the work that the server asks for; a context manager.

    Threads share its connections, `threads` at most, and their puzzles are solved one at a time. Raises the error of
    requests for a URL that it cannot send to.
    """

    def __init__(self, url: str, auth: PowAuth, threads: int, part: str | None = None) -> None:
        """`part` is the name of the form's part that carries each file; by default, the file is the whole body."""
        self._url = url
        self._auth = auth
        self._part = part
        self._lock = ComputeLock()
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, ComputeLockAdapter(self._lock, threads))
        self._session.get_adapter(str(requests.Request("POST", url).prepare().url))

    def __enter__(self) -> FileSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()
        self._session.close()

    def send(self, file: str) -> requests.Response:
        """Send a file and return the last response. Raises CalpowError, and OSError, which requests' errors are."""
        request = self._form(self._part, file) if self._part is not None else _whole_body(file)
        with self._lock.exchange():
            return self._session.post(self._url, auth=self._auth, timeout=_TIMEOUT, **request)

    def _form(self, part: str, file: str) -> dict[str, Any]:
        name = "stdin" if file == STANDARD_INPUT else os.path.basename(file)
        return {"files": {part: (name, _read(file), media_type(file) or "application/octet-stream")}}


def media_type(file: str) -> str | None:
    """Return the Content-Type with which a file is sent: JSON's by its suffix, or none, as `curl -T` sends it."""
    return "application/json" if file.lower().endswith(".json") else None


def _whole_body(file: str) -> dict[str, Any]:
    kind = media_type(file)
    return {"data": _read(file), "headers": {} if kind is None else {"Content-Type": kind}}


def _read(file: str) -> bytes:
    # Into memory, so that a pipe can be sent twice, and an error of the disk is not mistaken for one of the server.
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    if os.path.isdir(file):
        raise FolderGiven(f"{file} is a folder: name its files, for example with {file.rstrip('/')}/*")
    with open(file, "rb") as payload:  # not Path: "" would be this folder
        return payload.read()
