"""A lock that lets one of many threads compute while the others wait for the server."""

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

# The time that a challenge may wait for those before it; it is valid for a minute at least.
QUEUE_SECONDS = 10.0
CLOSING_SECONDS = 10.0


class ComputeLock:
    """Lock held by the one thread that computes.

    The solver uses every core for a puzzle that is large enough: the puzzles of several threads at once would only
    take the cores from each other. The lock also limits how many exchanges are open, so that no challenge expires
    while it waits for the lock: the first exchange runs alone, and after it as many as can be computed in
    QUEUE_SECONDS.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = threading.local()  # held_since, and the seconds that its exchange has computed
        self._open = threading.Condition()
        self._exchanges = 0
        self._mean_seconds: float | None = None  # of computing in one exchange, recent ones weighing most

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """Open an exchange, from before its first request to its answer; it begins with the lock held."""
        with self._open:
            self._open.wait_for(lambda: self._exchanges < self._most_exchanges())
            self._exchanges += 1
        self._thread.seconds = 0.0
        self._thread.held_since = None
        self.acquire()
        try:
            yield
        finally:
            self.release()
            self._end_exchange(self._thread.seconds)

    def close(self) -> None:
        """Keep every thread from computing: Python must not exit while one runs or compiles machine code."""
        self._lock.acquire(timeout=CLOSING_SECONDS)

    def acquire(self) -> None:
        """Wait for the lock."""
        self._lock.acquire()
        self._thread.held_since = time.monotonic()

    def release(self) -> None:
        """Let another thread compute. Does nothing when the calling thread does not hold the lock."""
        if self._thread.held_since is not None:
            self._thread.seconds += time.monotonic() - self._thread.held_since
            self._thread.held_since = None
            self._lock.release()

    def _most_exchanges(self) -> float:
        return 1 if self._mean_seconds is None else 1 + QUEUE_SECONDS / max(self._mean_seconds, 1e-6)

    def _end_exchange(self, seconds: float) -> None:
        with self._open:
            self._exchanges -= 1
            self._mean_seconds = seconds if self._mean_seconds is None else (self._mean_seconds + seconds) / 2
            self._open.notify_all()


class ComputeLockAdapter(HTTPAdapter):
    """Transport adapter that releases the lock while it waits for the server, and acquires it for a challenge.

    For requests within `ComputeLock.exchange`, with the body in memory. When the connection of a request with a
    solution is lost, the adapter sends the request once more: the server repeats the outcome that it has settled. See
    docs/decisions/0031.

    connections: how many connections to a server are kept open.
    """

    def __init__(self, lock: ComputeLock, connections: int) -> None:
        super().__init__(pool_maxsize=connections)
        self._compute_lock = lock

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Send one request and read the response to its end."""
        self._compute_lock.release()
        try:
            response = self._send_and_read(request, *args, **options)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            if SOLUTION_HEADER not in request.headers:
                raise
            response = self._send_and_read(request, *args, **options)
        if response.status_code == 402:
            self._compute_lock.acquire()
        return response

    def _send_and_read(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        response = super().send(request, *args, **options)
        _ = response.content  # without this it would be read later, with the lock held
        return response
