"""The strategy of mode `observe`: every answer is priced, accounted and recorded, and nobody is blocked.

An answer waits for its price, since only its worker can compute it, and for nothing else: a thread writes to the ledger
and to the records file, so that a lock or a slow disk delays no answer. Failures are logged at a limited rate.
Decision 0020.
"""

import atexit
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from calpow.handler.errors import LedgerError, UnknownIdentity
from calpow.handler.gate.audit import AuditFile, AuditLine, Event, Settling
from calpow.handler.gate.case import log_refusal
from calpow.handler.gate.interface import (
    Answer,
    AnyRequest,
    Decision,
    PassResult,
    PricedSamples,
    Purpose,
    Refused,
    Released,
    Request,
    RunVictim,
)
from calpow.handler.identity.credentials import Credentials
from calpow.handler.identity.identification import API_KEYS, Identification
from calpow.handler.ledger.account import Account
from calpow.handler.ledger.history import Charge
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.logs.rate_limited_log import RateLimitedLog
from calpow.handler.observe.records import ANONYMOUS, Record, append, meter_name
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.tariff import Tariff

# A locked ledger holds up the thread for two seconds, which then handles everything that was queued meanwhile.
MOST_WAITING = 10_000
# Samples that are charged later, once the ledger works again; those beyond are not charged.
MOST_UNCHARGED = 10_000
# Time that a worker that ends waits until its queries are written.
FAREWELL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class _Query:
    """A query that was answered at a time, in seconds since the epoch, and is to be written."""

    at: float
    credentials: Credentials
    samples: PricedSamples
    request: str


class _Charged(NamedTuple):
    """A query of an account, and the effects of its samples."""

    query: _Query
    charges: Sequence[Charge]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Queries that are charged at once, by account, under one name however often that fails, and their prices."""

    name: str
    charged: dict[str, list[_Charged]]
    prices: dict[str, list[int]]


class Observer:
    """Accounts for the queries to one model and records them, and releases every answer.

    An account accumulates what it would if all its work had been done. When the gate is enforced later under the same
    model name, it continues from there. `records` is an absolute path.
    """

    def __init__(
        self,
        model: str,
        ledger: Ledger,
        policy: CalibratedPolicy,
        records: Path,
        clock: Callable[[], float] = time.time,
        identification: Identification = API_KEYS,
        audit: AuditFile | None = None,
    ) -> None:
        self._model = model
        self._ledger = ledger
        self._policy = policy
        self._tariff = Tariff(policy)
        self._audit = audit
        self._records = records
        self._clock = clock
        self._identification = identification
        self._scores = tuple(spec.label for spec in policy.scores)
        self._meter = meter_name(policy.victim_sha256, policy.parts, policy.output, policy.scores)
        self._log = RateLimitedLog(logging.getLogger(__name__), "calpow: observing goes on: ")
        self._uncharged: dict[str, list[_Charged]] = {}
        # Tried before, and possibly charged for some accounts.
        self._tried: _Batch | None = None
        self._waiting: queue.Queue[_Query] = queue.Queue(MOST_WAITING)
        threading.Thread(target=self._write_forever, name="calpow-observer", daemon=True).start()
        atexit.register(self.flush)

    def answer(self, requests: Sequence[AnyRequest], run: RunVictim[AnyRequest, Answer]) -> list[Decision[Answer]]:
        """Run the victim on a batch and release its answers; the thread writes what was priced."""
        return [self._decision(request, result) for request, result in zip(requests, run(requests), strict=True)]

    def _decision(self, request: Request, result: PassResult[Answer]) -> Decision[Answer]:
        if request.purpose is Purpose.describe and result.problem is not None:
            refusal = Refused(result.problem, f"a description: {result.problem.detail}")
            log_refusal(refusal, request.id)
            return refusal
        if result.samples is not None:
            self._enqueue(_Query(self._clock(), request.credentials, result.samples, request.id))
        elif result.problem is not None:
            self._log.warning("a query is not recorded", result.problem.detail)
        return Released(result.answer, None)

    def _enqueue(self, query: _Query) -> None:
        try:
            self._waiting.put_nowait(query)
        except queue.Full:
            self._log.warning("queries are not recorded", f"{MOST_WAITING} are still to be written")

    def flush(self, seconds: float = FAREWELL_SECONDS) -> bool:
        """Wait until all queries so far are written, `seconds` at most, and return whether they are."""
        deadline = time.monotonic() + seconds
        while self._waiting.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.005)
        return not self._waiting.unfinished_tasks

    def _write_forever(self) -> None:
        while True:
            queries = [self._waiting.get()]
            while not self._waiting.empty():
                queries.append(self._waiting.get())
            try:
                self._write(queries)
            except Exception as error:
                self._log.warning("queries are not recorded", f"{type(error).__name__}: {error}")
            for _ in queries:
                self._waiting.task_done()

    def _write(self, queries: Sequence[_Query]) -> None:
        accounts = self._accounts({query.credentials for query in queries})
        named = [(query, accounts.get(query.credentials, ANONYMOUS)) for query in queries]
        self._record(named)
        self._charge(named)

    def _accounts(self, shown: set[Credentials]) -> dict[Credentials, str]:
        """Return the accounts of those credentials that have one."""
        accounts: dict[Credentials, str] = {}
        try:
            for credentials in shown:
                account = self._account_of(credentials)
                if account is not None:
                    accounts[credentials] = account
        except LedgerError as error:
            self._log.warning("accounts are not known, counted as anonymous", error)
        return accounts

    def _account_of(self, credentials: Credentials) -> str | None:
        try:
            identity = self._identification.identify(credentials)
        except UnknownIdentity:
            return None
        if identity is None:
            return None
        account = identity.account if identity.key is None else self._ledger.account_of(identity.key)
        if account is None:
            self._log.warning("an account is not known", "a key is wrong or revoked: counted as anonymous")
        return account

    def _charge(self, named: Sequence[tuple[_Query, str]]) -> None:
        """Charge accounts for queries, after earlier ones that could not be charged then."""
        batches = [self._uncharged] if self._tried is None else [self._tried.charged, self._uncharged]
        waiting = sum(len(one.charges) for batch in batches for charged in batch.values() for one in charged)
        for query, account in named:
            if account == ANONYMOUS:
                continue
            samples = query.samples
            waiting += len(samples.labels)
            if waiting > MOST_UNCHARGED:
                self._log.warning("queries are not charged", f"{MOST_UNCHARGED} samples are still to be charged")
                break
            charges = self._policy.charges(samples.scores, samples.labels, samples.identities)
            self._uncharged.setdefault(account, []).append(_Charged(query, charges))
        try:
            if self._tried is not None:
                self._charge_batch(self._tried)
            if self._uncharged:
                self._tried, self._uncharged = _Batch(secrets.token_hex(16), self._uncharged, {}), {}
                self._charge_batch(self._tried)
        except LedgerError as error:
            self._log.warning("accounts will be charged later", error)

    def _charge_batch(self, batch: _Batch) -> None:
        changes = {account: partial(self._after, batch, account) for account in batch.charged}
        self._ledger.charge(self._model, changes, batch.name)
        self._tried = None
        if self._audit is not None:
            self._audit.write([line for account in batch.prices for line in self._lines(batch, account)])

    def _after(self, batch: _Batch, name: str, account: Account) -> Account:
        """Return an account after queries, and note what they would have cost: of the last call, which is written."""
        prices = batch.prices[name] = []
        for one in batch.charged[name]:
            account, price = self._tariff.price(account, one.charges, 1.0)
            prices.append(price)
        return account

    def _lines(self, batch: _Batch, account: str) -> Iterator[AuditLine]:
        for (query, charges), price in zip(batch.charged[account], batch.prices[account], strict=True):
            settling = Settling(len(charges), price, 0, 0, pays_rest=False)
            yield AuditLine(query.at, query.request, self._model, account, Event.observed, settling, None)

    def _record(self, named: Sequence[tuple[_Query, str]]) -> None:
        records = [
            Record(
                query.at,
                self._meter,
                self._scores,
                account,
                tuple(query.samples.labels),
                tuple(map(tuple, query.samples.scores)),
            )
            for query, account in named
        ]
        try:
            append(self._records, records)
        except OSError as error:
            self._log.warning("queries are not recorded", f"{self._records}: {error.strerror}")
