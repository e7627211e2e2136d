"""Sending files to a protected model, from any number of threads."""

from __future__ import annotations

import os
import sys
from types import TracebackType

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

    def __init__(self, url: str, auth: PowAuth, threads: int) -> None:
        self._url = url
        self._auth = auth
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
        headers = {"Content-Type": "application/json"} if file.endswith(".json") else {}
        body = _read(file)
        with self._lock.exchange():
            return self._session.post(self._url, data=body, headers=headers, auth=self._auth, timeout=_TIMEOUT)


def _read(file: str) -> bytes:
    # Into memory, so that a pipe can be sent twice, and an error of the disk is not mistaken for one of the server.
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    if os.path.isdir(file):
        raise FolderGiven(f"{file} is a folder: name its files, for example with {file.rstrip('/')}/*")
    with open(file, "rb") as payload:  # not Path: "" would be this folder
        return payload.read()
