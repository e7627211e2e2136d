"""Customers that send and pay requests in every order, and a ledger that keeps books about them."""

import base64
import json
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calpow.handler.gate.gate import Gate
from calpow.handler.gate.interface import Released
from calpow.handler.ledger.account import NEW_ACCOUNT, Account
from calpow.handler.ledger.limits import day_of
from calpow.handler.ledger.settlement import Settlement
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from calpow.handler.policy.tariff import Tariff
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.wire import Challenge, format_prepaid
from tests.support.gate_harness import (
    GateHarness,
    TextDecision,
    claim_work,
    decision_type,
    stamps_without_work,
    work_of,
)
from tests.support.text_runner import TextRequest, scored_text

# The time of the harness's clock, as stamps state it.
DATE = "270115080000"


@dataclass
class Books:
    """The books of one account, from the settlements that were written.

    prices: sum of the prices of the answers that were given.
    last: price of the last of them.
    lost: work that was spent on answers that are still withheld.
    clipped: work that was paid in excess and not credited.
    account: the state that the ledger must hold.
    withheld: price, work and credit of the withheld answers, by digest.
    """

    prices: int = 0
    last: int = 0
    lost: int = 0
    clipped: int = 0
    account: Account = NEW_ACCOUNT
    withheld: dict[str, tuple[int, int, tuple[int, ...]]] = field(default_factory=dict)


class AuditedLedger(SqliteLedger):
    """A ledger that checks every settlement which it writes, sample by sample, and keeps the books.

    `texts` are the payloads by the digests of their requests; the requests of an account must differ. `beside` is the
    ledger of another worker, with which it shares the books.
    """

    _auditing = threading.Lock()

    def __init__(self, path: Path, harness: GateHarness, beside: "AuditedLedger | None" = None) -> None:
        super().__init__(path)
        self.books: dict[str, Books] = {} if beside is None else beside.books
        self.texts: dict[str, str] = {} if beside is None else beside.texts
        self._policy = harness.policy
        self._tariff = Tariff(harness.policy)

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Settle, and audit what was written."""
        with self._auditing:  # before another worker settles
            written = super().settle(model, settlements, now=now)
            for settlement, is_written in zip(settlements, written, strict=True):
                if is_written:
                    self._audit(self.books.setdefault(settlement.account, Books()), settlement)
        return written

    def _audit(self, books: Books, settlement: Settlement) -> None:
        history, owed, usage = books.account.history, books.account.owed, books.account.usage
        for spending in settlement.spendings:
            outcome = spending.outcome
            samples = scored_text(self.texts[outcome.digest])
            charges = self._policy.charges(samples.scores, samples.labels, samples.identities)
            if outcome.digest in books.withheld:
                price, before, credit = books.withheld.pop(outcome.digest)
                books.lost -= before
                assert outcome.rest == 0
                history = history.answered(samples.identities, credit)
            else:
                usage = usage.on(day_of(outcome.settled)).plus(len(charges))
                past, price, peaks = history, 0, self._policy.evidence.adopt(history)
                for charge in charges:
                    history = self._policy.evidence.after(history, charge)
                    price += self._tariff.after(Account(history, 0, 0))
                    peaks = tuple(map(max, peaks, history.wealth))
            assert outcome.price == price
            exact = owed + price - outcome.work
            if outcome.rest:
                assert outcome.rest == exact > 0
                history, credit = past.unanswered(peaks, history)
                assert outcome.credit == credit
                books.withheld[outcome.digest] = price, outcome.work, credit
                books.lost += outcome.work
                continue
            owed = max(exact, -self._tariff.next(Account(history, 0, 0)))
            books.clipped += owed - exact
            books.prices += price
            books.last = price
        assert (settlement.before, settlement.history, settlement.owed) == (books.account.version, history, owed)
        assert settlement.usage in (None, usage)
        books.account = Account(history, owed, settlement.before + 1, usage=usage)


@dataclass
class Customer:
    """An account of its own, which counts the work that it has spent.

    next_hashes: the work that the last answer announced.
    number: number of its payloads so far.
    lock: held where a thread adds to `spent`: requests of several threads may be answered at once.
    """

    harness: GateHarness
    name: str
    rng: random.Random
    key: str = ""
    spent: int = 0
    next_hashes: int = 0
    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.key = self.harness.ledger.add_key(self.name)
        self.next_hashes = Tariff(self.harness.policy).floor

    def text(self, samples: int) -> str:
        """Return a new payload, of ordinary and odd samples."""
        self.number += 1
        costs = self.rng.choices([0.5, 1.0, 1.5, 2.0, 2.9], [4, 8, 2, 1, 1], k=samples)
        return " ".join(f"{cost}#{self.number}.{index}" for index, cost in enumerate(costs))

    def prepaid(self, hashes: float) -> str:
        """Return a header of prepaid stamps that claim about this much work."""
        resource = prepaid_resource(self.harness.gate.realm, self.key)
        puzzle = self.harness.kind.puzzle(hashes, resource)
        return format_prepaid(stamps_without_work(puzzle, DATE, f"r{self.rng.getrandbits(64):x}"))


@dataclass
class Attempt:
    """One request of a customer, from its first sending to its answer.

    header: the solution that is sent next.
    chain: the solutions that were sent and are not spent.
    withheld: the solution on which the answer is withheld, if it is.
    """

    customer: Customer
    text: str
    counted: bool = True
    header: str | None = None
    chain: list[str] = field(default_factory=list)
    withheld: str | None = None
    answer: object = None

    def request(self) -> TextRequest:
        """Return the request to send next."""
        if self.header is not None and self.header not in self.chain:
            self.chain.append(self.header)
        return self.customer.harness.request(self.text, self.header, self.customer.key, counted=self.counted)

    def take(self, decision: TextDecision) -> None:
        """Take the gate's decision, and claim the work that it asks for."""
        if isinstance(decision, Released):
            self.answer = decision.answer
            if decision.next_hashes is not None:
                self.customer.next_hashes = decision.next_hashes
                self._spend()
            return
        challenge = decision.problem.challenge
        assert challenge is not None, decision
        if decision_type(decision) == "more-required":
            if rest_ids(challenge) == []:
                self._spend()
                self.withheld = self.header
        else:
            assert decision_type(decision) == "pow-required", decision
        self.header = claim_work(challenge)

    def run(self, gate: Gate, patience: int = 20) -> None:
        """Send the request until it is answered."""
        for _ in range(patience):
            (decision,) = gate.answer([self.request()], self.customer.harness.runner.run)
            self.take(decision)
            if self.answer is not None:
                return
        raise AssertionError(f"{self.text} was never answered")

    def _spend(self) -> None:
        spent = sum(work_of(header) for header in self.chain)
        with self.customer.lock:
            self.customer.spent += spent
        self.chain = []


def rest_ids(challenge: Challenge) -> list[str] | None:
    """Return the ids that the token of a rest names, or None for a challenge that is no rest."""
    payload = challenge.token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    ids: list[str] | None = claims.get("ids")
    return ids
