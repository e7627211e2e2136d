"""Asking for many files at once, and knowing when it is no use to go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import requests

from calpow.client.cli.failures import describe
from calpow.client.cli.results import Result
from calpow.client.errors import ClientError, HeadersDropped
from calpow.client.protocol.problems import reason_in
from calpow.puzzle.errors import CalpowError

# So many questions in a row that the server never spoke to: it is down, or the URL is wrong.
MOST_UNANSWERED = 3
_KEY_REFUSED = 401
# A join without a timeout could not be interrupted on every system; after an interrupt, so long is waited for cores.
_JOIN_SECONDS = 0.5


@dataclass
class Tally:
    """How many files were answered, refused by the server, or could not be asked; why the rest was left alone."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    stopped: str | None = None


class Run:
    """Asks for each of the files once.

    ask: sends a file and returns the server's last word, from any thread.
    take: given every result, in the thread that got it, and in the order of completion.

    cancel: ends what `ask` computes.

    What `take` raises, and what is neither CalpowError nor OSError, ends the run and is raised by `with_threads`.
    """

    def __init__(
        self,
        files: Iterable[str],
        ask: Callable[[str], requests.Response],
        take: Callable[[Result], None],
        cancel: threading.Event,
    ) -> None:
        self._files = iter(files)
        self._ask = ask
        self._take = take
        self._cancel = cancel
        self._tally = Tally()
        self._unanswered = 0
        self._fault: Exception | None = None
        self._lock = threading.Lock()

    def with_threads(self, jobs: int) -> Tally:
        """Ask with so many threads. Interrupted or at fault, it ends at once, whoever waits for the server then."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        try:
            while self._fault is None and any(thread.is_alive() for thread in threads):
                self._join(threads)
            if self._fault is not None:
                raise self._fault
        except BaseException:
            self._cancel.set()
            self._join(threads)
            raise
        return self._tally

    def _join(self, threads: list[threading.Thread]) -> None:
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        try:
            while (file := self._next()) is not None:
                result = self._result_of(file)
                if result.error is None or not self._cancel.is_set():
                    self._take(result)
        except Exception as fault:
            with self._lock:
                self._fault = self._fault or fault
            self._cancel.set()

    def _next(self) -> str | None:
        with self._lock:
            over = self._cancel.is_set() or self._tally.stopped is not None
            return None if over else next(self._files, None)

    def _result_of(self, file: str) -> Result:
        try:
            response = self._ask(file)
        except (CalpowError, OSError) as error:
            return self._failed(file, error)
        if response.status_code >= 400:
            return self._refused(file, response)
        with self._lock:
            self._unanswered = 0
            self._tally.answered += 1
        return Result(file, response.status_code, response.content)

    def _refused(self, file: str, response: requests.Response) -> Result:
        result = Result(file, response.status_code, error=reason_in(response))
        with self._lock:
            self._unanswered = 0
            self._tally.refused += 1
            if result.status == _KEY_REFUSED:
                self._tally.stopped = f"{result.status}: {result.error}"
        return result

    def _failed(self, file: str, error: CalpowError | OSError) -> Result:
        result = Result(file, None, error=describe(error))
        # A ClientError tells of something the server said, or of the file.
        unanswered = isinstance(error, requests.RequestException) and not isinstance(error, ClientError)
        with self._lock:
            self._unanswered += unanswered
            self._tally.failed += 1
            if self._unanswered >= MOST_UNANSWERED or isinstance(error, HeadersDropped):
                self._tally.stopped = result.error
        return result
