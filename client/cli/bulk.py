"""Predictions for many files with several threads, ended early when the rest would fail too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import requests

from calpow.client.cli.failures import describe
from calpow.client.cli.results import Result
from calpow.client.errors import ClientError, HeadersDropped
from calpow.client.requests import reason_in
from calpow.puzzle.errors import CalpowError

# After this number of files in a row without a response, the server is down or the URL is wrong.
MOST_UNANSWERED = 3
_KEY_REFUSED = 401
# A join without a timeout cannot be interrupted on every system. After an interrupt, the solver has this time to stop.
_JOIN_SECONDS = 0.5


@dataclass
class BulkCounts:
    """Numbers of files that were answered, refused by the server, or not sent.

    stopped: the reason for which the other files were not tried, if they were not.
    """

    answered: int = 0
    refused: int = 0
    failed: int = 0
    stopped: str | None = None


class BulkPrediction:
    """Sends each of the files once.

    send: sends a file and returns the last response; called from several threads.
    write: receives each result in the order of completion, in the thread that got it.
    cancel: set to end the work that `send` does.

    What `write` raises, and what `send` raises beside CalpowError and OSError, ends the run; `run` raises it.
    """

    def __init__(
        self,
        files: Iterable[str],
        send: Callable[[str], requests.Response],
        write: Callable[[Result], None],
        cancel: threading.Event,
    ) -> None:
        self._files = iter(files)
        self._send = send
        self._write = write
        self._cancel = cancel
        self._counts = BulkCounts()
        self._unanswered = 0
        self._fault: Exception | None = None
        self._lock = threading.Lock()

    def run(self, threads: int) -> BulkCounts:
        """Send with this number of threads. An interrupt or a fault ends the run at once, even while threads wait."""
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            while self._fault is None and any(worker.is_alive() for worker in workers):
                _join(workers)
            if self._fault is not None:
                raise self._fault
        except BaseException:
            self._cancel.set()
            _join(workers)
            raise
        return self._counts

    def _work(self) -> None:
        try:
            while (file := self._next_file()) is not None:
                result = self._predict(file)
                if result.error is None or not self._cancel.is_set():
                    self._write(result)
        except Exception as fault:
            with self._lock:
                self._fault = self._fault or fault
            self._cancel.set()

    def _next_file(self) -> str | None:
        with self._lock:
            over = self._cancel.is_set() or self._counts.stopped is not None
            return None if over else next(self._files, None)

    def _predict(self, file: str) -> Result:
        try:
            response = self._send(file)
        except (CalpowError, OSError) as error:
            return self._count_failed(file, error)
        if response.status_code >= 400:
            return self._count_refused(file, response)
        with self._lock:
            self._unanswered = 0
            self._counts.answered += 1
        return Result(file, response.status_code, response.content)

    def _count_refused(self, file: str, response: requests.Response) -> Result:
        result = Result(file, response.status_code, error=reason_in(response))
        with self._lock:
            self._unanswered = 0
            self._counts.refused += 1
            if result.status == _KEY_REFUSED:
                self._counts.stopped = f"{result.status}: {result.error}"
        return result

    def _count_failed(self, file: str, error: CalpowError | OSError) -> Result:
        result = Result(file, None, error=describe(error))
        # A ClientError is about a response of the server, or about the file.
        unanswered = isinstance(error, requests.RequestException) and not isinstance(error, ClientError)
        with self._lock:
            self._unanswered += unanswered
            self._counts.failed += 1
            if self._unanswered >= MOST_UNANSWERED or isinstance(error, HeadersDropped):
                self._counts.stopped = result.error
        return result


def _join(threads: list[threading.Thread]) -> None:
    deadline = time.monotonic() + _JOIN_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
