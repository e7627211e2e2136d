"""Mode `observe`: every answer is priced, accounted and recorded, and nobody is blocked.

An answer waits for its price, since only its worker can look at it, and for nothing else: ledger and file are left to a
thread, so that a lock or a slow disk keeps nobody's answer back. Whatever goes wrong is said in the log now and then.
"""

import atexit
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from calpow.handler.gate.decision import Decision, Released, Request, Run
from calpow.handler.leakage.score import Priced
from calpow.handler.ledger.ledger import Charge, Ledger, LedgerError
from calpow.handler.observe.records import ANONYMOUS, Record, append, meter_name
from calpow.handler.policy.calibration_file import Calibration

log = logging.getLogger(__name__)

# A ledger that stays locked keeps the thread waiting for two seconds; then it takes all that has come in meanwhile.
MOST_WAITING = 10_000
SECONDS_BETWEEN_LINES = 60.0
# How long a worker that ends waits for what it has seen to be written.
FAREWELL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    key: str | None
    priced: Priced


class Grumbler:
    """Logs each kind of trouble at most once a minute, with how often it was kept to itself meanwhile."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._kept: Counter[str] = Counter()

    def say(self, kind: str, trouble: object) -> None:
        """Log trouble of a kind, or count it."""
        with self._lock:
            now = self._clock()
            if now - self._last.get(kind, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES:
                self._kept[kind] += 1
                return
            self._last[kind] = now
            kept = self._kept.pop(kind, 0)
        log.warning("calpow: observing goes on: %s: %s%s", kind, trouble, f" ({kept} more like it)" if kept else "")


class Observer:
    """Accounts and records the queries to one model, and releases every answer.

    An account runs up what it would with all its work done; under the same model name the gate goes on from there when
    it is enforced. `records` is an absolute path.
    """

    def __init__(
        self,
        model: str,
        ledger: Ledger,
        calibration: Calibration,
        records: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._model = model
        self._ledger = ledger
        self._calibration = calibration
        self._records = records
        self._clock = clock
        self._meter = meter_name(calibration.victim_sha256, calibration.parts, calibration.output, calibration.metrics)
        self._grumbler = Grumbler()
        self._owed: dict[str, Charge] = {}
        self._waiting: queue.Queue[_Seen] = queue.Queue(MOST_WAITING)
        threading.Thread(target=self._keep_books, name="calpow-observer", daemon=True).start()
        atexit.register(self.flush)

    def answer(self, requests: Sequence[Request], run: Run) -> list[Decision]:
        """Run the victim on a batch, release what it answers, and leave what was priced to the thread."""
        results = run(requests)
        for request, ran in zip(requests, results, strict=True):
            if ran.priced is not None:
                self._note(_Seen(self._clock(), request.key, ran.priced))
            elif ran.problem is not None:
                self._grumbler.say("a query is not recorded", ran.problem.detail)
        return [Released(ran.answer, None) for ran in results]

    def _note(self, seen: _Seen) -> None:
        try:
            self._waiting.put_nowait(seen)
        except queue.Full:
            self._grumbler.say("queries are not recorded", f"{MOST_WAITING} are still to be written")

    def flush(self, seconds: float = FAREWELL_SECONDS) -> bool:
        """Wait until all that was observed has been dealt with, so long at most; whether it has."""
        deadline = time.monotonic() + seconds
        while self._waiting.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.005)
        return not self._waiting.unfinished_tasks

    def _keep_books(self) -> None:
        while True:
            seen = [self._waiting.get()]
            while not self._waiting.empty():
                seen.append(self._waiting.get())
            try:
                self._book(seen)
            except Exception as problem:
                self._grumbler.say("queries are not recorded", f"{type(problem).__name__}: {problem}")
            for _ in seen:
                self._waiting.task_done()

    def _book(self, seen: Sequence[_Seen]) -> None:
        accounts = self._identify({each.key for each in seen if each.key})
        owners = [accounts.get(each.key or "", ANONYMOUS) for each in seen]
        self._write(seen, owners)
        self._charge(seen, owners)

    def _identify(self, keys: set[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        try:
            for key in keys:
                account = self._ledger.account_of(key)
                if account is None:
                    self._grumbler.say("an account is not known", "a key is wrong or revoked: counted as anonymous")
                else:
                    found[key] = account
        except LedgerError as problem:
            self._grumbler.say("accounts are not known, counted as anonymous", problem)
        return found

    def _charge(self, seen: Sequence[_Seen], owners: Sequence[str]) -> None:
        for each, account in zip(seen, owners, strict=True):
            if account != ANONYMOUS:
                evidence = self._calibration.evidence_of(each.priced)
                self._owed[account] = sum(evidence, self._owed.get(account, Charge(0, 0, 0)))
        try:
            self._ledger.charge(self._model, self._owed)
            self._owed.clear()
        except LedgerError as problem:
            self._grumbler.say("accounts will be charged later", problem)

    def _write(self, seen: Sequence[_Seen], owners: Sequence[str]) -> None:
        records = [
            Record(
                each.at,
                self._meter,
                account,
                tuple(each.priced.labels.tolist()),
                tuple(map(tuple, each.priced.costs.tolist())),
            )
            for each, account in zip(seen, owners, strict=True)
        ]
        try:
            append(self._records, records)
        except OSError as problem:
            self._grumbler.say("queries are not recorded", f"{self._records}: {problem.strerror}")
