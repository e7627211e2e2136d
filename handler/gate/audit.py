"""The audit: a line of JSON for each solution that was presented, and each query observed, with what it was charged.

{"at": 1764000000.1, "request": "f3c1...", "model": "digits", "account": "ada", "event": "charged", "samples": 1,
 "price": 992, "work": 992, "rest": 0, "problem": null}

It holds no key, no token, no stamp and no payload. docs/operating.md describes it for operators.
"""

import atexit
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from calpow.handler.errors import GateMisconfigured
from calpow.handler.logs.line_file import append_lines, shared_file
from calpow.handler.logs.rate_limited_log import RateLimitedLog

PATH_VARIABLE = "CALPOW_AUDIT"
# Lines that wait while the file cannot be written. Those beyond are lost, and their number is logged.
MOST_WAITING = 100_000
# Time that a worker that ends waits until its lines are written.
FAREWELL_SECONDS = 3.0
_SECONDS_UNTIL_RETRY = 1.0

_log = RateLimitedLog(logging.getLogger(__name__), "calpow: ")


class Event(Enum):
    """Kind of an audit's line."""

    charged = "charged"
    withheld = "withheld"
    """Charged, and the answer waits for the rest."""
    rest_paid = "rest-paid"
    """The rest of an answer whose line says `withheld` was paid. Samples and price are those of that line."""
    uncharged = "uncharged"
    """Answered without a charge: a retry that repeats an answer, or the victim's own failure."""
    unknown = "unknown"
    """Refused because the ledger failed while the answer was charged: it may have written the charge."""
    refused = "refused"
    observed = "observed"
    """Answered in mode `observe`, where nobody pays; the price is what its samples would have cost."""


class Settling(NamedTuple):
    """Settlement of one request: its samples, and price, work and rest in hashes.

    pays_rest: see Event.rest_paid. is_doubtful: see Event.unknown.
    """

    samples: int
    price: int
    work: int
    rest: int
    pays_rest: bool
    is_doubtful: bool = False

    @property
    def event(self) -> Event:
        """The kind of its line."""
        if self.is_doubtful:
            return Event.unknown
        if self.rest:
            return Event.withheld
        return Event.rest_paid if self.pays_rest else Event.charged


class AuditLine(NamedTuple):
    """One line. `at` is in seconds since the epoch, `request` TorchServe's id, `problem` the type of a refusal."""

    at: float
    request: str
    model: str
    account: str
    event: Event
    settling: Settling | None
    problem: str | None

    def text(self) -> str:
        """Return the line as JSON, without its end."""
        samples, price, work, rest, *_ = self.settling or (0, 0, 0, 0)
        members = {
            "at": round(self.at, 3),
            "request": self.request,
            "model": self.model,
            "account": self.account,
            "event": self.event.value,
            "samples": samples,
            "price": price,
            "work": work,
            "rest": rest,
            "problem": self.problem,
        }
        return json.dumps(members)


class AuditFile:
    """A file to which the lines of a worker are appended, in a thread: no answer waits for the disk.

    The file is opened for each write, so that it may be moved away at any time, as logrotate does. While it cannot be
    written, lines wait. Raises GateMisconfigured when it cannot be opened at first.
    """

    def __init__(self, path: Path) -> None:
        try:
            append_lines(path, [])
        except OSError as error:
            raise GateMisconfigured(f"the audit cannot go to {path}: {error.strerror}") from error
        self._path = path
        self._waiting: deque[AuditLine] = deque()
        self._changed = threading.Condition()
        self._writing = False
        threading.Thread(target=self._write_forever, name="calpow-audit", daemon=True).start()
        atexit.register(self.flush)

    @classmethod
    def from_environment(cls) -> "AuditFile | None":
        """Return the file that CALPOW_AUDIT names; None where it names none. Raises GateMisconfigured."""
        named = os.environ.get(PATH_VARIABLE)
        return cls(shared_file(named, "audits")) if named else None

    def write(self, lines: Sequence[AuditLine]) -> None:
        """Let the thread write lines, in order."""
        if not lines:
            return
        with self._changed:
            room = max(0, MOST_WAITING - len(self._waiting))
            self._waiting.extend(lines[:room])
            self._changed.notify()
        for line in lines[room:]:
            _log.error("a line of the audit is lost", f"{self._path} cannot be written, request {line.request}")

    def flush(self, seconds: float = FAREWELL_SECONDS) -> bool:
        """Wait until all lines so far are written, `seconds` at most, and return whether they are."""
        deadline = time.monotonic() + seconds
        while (self._waiting or self._writing) and time.monotonic() < deadline:
            time.sleep(0.005)
        return not (self._waiting or self._writing)

    def _write_forever(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                lines = list(self._waiting)
                self._writing = True
            try:
                append_lines(self._path, [line.text() for line in lines])
            except OSError as error:
                _log.error("the audit waits", f"{self._path}: {error.strerror}")
                time.sleep(_SECONDS_UNTIL_RETRY)
                lines = []
            with self._changed:
                for _ in lines:
                    self._waiting.popleft()
                self._writing = False
