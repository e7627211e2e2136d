"""Asking a protected model for one file after another, from any number of threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests

from calpow.client.cli.turns import Turns, TurnTakingAdapter
from calpow.client.requests import PowAuth
from calpow.puzzle.errors import CalpowError

STANDARD_INPUT = "-"

# Seconds to connect, and to wait for the answer: longer than TorchServe itself lets a model think.
_TIMEOUT = (10, 300)


class FolderGiven(CalpowError):
    """A folder where a file was wanted."""


@contextmanager
def asking(url: str, auth: PowAuth, threads: int) -> Iterator[Callable[[str], requests.Response]]:
    """Give a function that sends a file to `url`, does the work asked for, and returns the last response.

    `threads` may call it at once: they share connections, and their puzzles are solved one by one. It raises
    OSError, of which requests' errors are some, and CalpowError.
    """
    turns = Turns()
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, TurnTakingAdapter(turns, threads))
        _check(url, session)

        def ask(file: str) -> requests.Response:
            headers = {"Content-Type": "application/json"} if file.endswith(".json") else {}
            body = _payload(file)
            with turns.exchange():
                return session.post(url, data=body, headers=headers, auth=auth, timeout=_TIMEOUT)

        try:
            yield ask
        finally:
            turns.close()


def _check(url: str, session: requests.Session) -> None:
    """Raise now what requests would raise for every file of a URL that cannot be one."""
    prepared = requests.Request("POST", url).prepare()
    session.get_adapter(str(prepared.url))


def _payload(file: str) -> bytes:
    # In memory, so that a pipe can be sent twice, and a disk that fails is not taken for the server.
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    if os.path.isdir(file):
        raise FolderGiven(f"{file} is a folder: name its files, say with {file.rstrip('/')}/*")
    with open(file, "rb") as payload:  # not Path, for which no name is this folder's
        return payload.read()
