"""Many threads that ask, one at a time that computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from calpow.puzzle.wire import SOLUTION_HEADER

# How long a challenge may have to wait for those before it, of the minute or more that it is good for.
QUEUE_SECONDS = 10.0
CLOSING_SECONDS = 10.0


class Turns:
    """Lets one thread compute while the others wait for the server.

    The solver uses every core for a puzzle that is worth it: puzzles of several threads at once would only take the
    cores from each other. And where puzzles are large, nobody asks for one that would expire before its turn comes:
    the first exchange goes alone, and after it as many as can be computed in QUEUE_SECONDS.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._mine = threading.local()
        self._asking = threading.Condition()
        self._exchanges = 0
        self._seconds: float | None = None  # that an exchange computes, the recent ones weighing most

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """One question, from before its first sending to its answer; begins with the turn taken."""
        with self._asking:
            self._asking.wait_for(lambda: self._exchanges < self._most())
            self._exchanges += 1
        self._mine.seconds = 0.0
        self._mine.since = None
        self.take()
        try:
            yield
        finally:
            self.give_up()
            self._learn(self._mine.seconds)

    def close(self) -> None:
        """Let nobody compute any more: Python may not end under a thread that is in machine code, or compiles it."""
        self._turn.acquire(timeout=CLOSING_SECONDS)

    def take(self) -> None:
        """Wait for the turn."""
        self._turn.acquire()
        self._mine.since = time.monotonic()

    def give_up(self) -> None:
        """Let another thread compute, if it is this one's turn."""
        if self._mine.since is not None:
            self._mine.seconds += time.monotonic() - self._mine.since
            self._mine.since = None
            self._turn.release()

    def _most(self) -> float:
        return 1 if self._seconds is None else 1 + QUEUE_SECONDS / max(self._seconds, 1e-6)

    def _learn(self, seconds: float) -> None:
        with self._asking:
            self._exchanges -= 1
            self._seconds = seconds if self._seconds is None else (self._seconds + seconds) / 2
            self._asking.notify_all()


class TurnTakingAdapter(HTTPAdapter):
    """Waits for the server without the turn, and takes it for a challenge; for use within `Turns.exchange`.

    When the connection of a request with a solution is lost, the request is sent once more: the server repeats what
    it has settled. The body has to be in memory.

    connections: how many are kept open to a server.
    """

    def __init__(self, turns: Turns, connections: int) -> None:
        super().__init__(pool_maxsize=connections)
        self._turns = turns

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Send one request and read the response to its end."""
        self._turns.give_up()
        try:
            response = self._whole(request, *args, **options)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            if SOLUTION_HEADER not in request.headers:
                raise
            response = self._whole(request, *args, **options)
        if response.status_code == 402:
            self._turns.take()
        return response

    def _whole(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        response = super().send(request, *args, **options)
        _ = response.content  # else it would be waited for with the turn taken
        return response
