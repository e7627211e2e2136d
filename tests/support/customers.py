"""Accounts that ask and pay in every order, and an auditor who keeps books of them beside the ledger."""

import base64
import json
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from calpow.handler.gate.decision import Decision, Refused, Released, Request
from calpow.handler.gate.gate import Gate
from calpow.handler.leakage.score import Priced
from calpow.handler.ledger.ledger import NEW_ACCOUNT, Account, Settlement
from calpow.handler.ledger.sqlite import SqliteLedger
from calpow.handler.policy.tariff import Tariff
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.wire import Challenge, format_prepaid
from tests.support.house import House, claimed, claimed_stamps, kind_of, work_of

DATE = "270115080000"  # the house's


@dataclass
class Books:
    """One account's, from what was written of it.

    prices: of the answers that were given; `last` is the last one's. lost: work that was spent on answers that are
    still withheld. clipped: work that was paid in excess and not credited. withheld: price and work by digest.
    """

    prices: int = 0
    last: int = 0
    lost: int = 0
    clipped: int = 0
    account: Account = NEW_ACCOUNT
    withheld: dict[str, tuple[int, int]] = field(default_factory=dict)


class AuditedLedger(SqliteLedger):
    """Checks each settlement that it writes, sample by sample, and keeps the books.

    `texts` are the payloads by the digests of their requests; every request of an account must have another one.
    `beside`: another worker's, with which it shares the books.
    """

    _auditing = threading.Lock()

    def __init__(self, path: Path, house: House, beside: "AuditedLedger | None" = None) -> None:
        super().__init__(path)
        self.books: dict[str, Books] = {} if beside is None else beside.books
        self.texts: dict[str, str] = {} if beside is None else beside.texts
        self._calibration = house.calibration
        self._tariff = Tariff(house.calibration)

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Settle, and audit what was written."""
        with self._auditing:  # before another worker's settling
            written = super().settle(model, settlements, now=now)
            for settlement, done in zip(settlements, written, strict=True):
                if done:
                    self._audit(self.books.setdefault(settlement.account, Books()), settlement)
        return written

    def _audit(self, books: Books, settlement: Settlement) -> None:
        totals, owed = books.account.totals, books.account.owed
        for spending in settlement.spendings:
            outcome = spending.outcome
            if outcome.digest in books.withheld:
                price, before = books.withheld.pop(outcome.digest)
                books.lost -= before
                assert outcome.rest == 0
            else:
                charges = self._calibration.evidence_of(priced(self.texts[outcome.digest]))
                price = 0
                for charge in charges:
                    totals += charge
                    price += self._tariff.after(totals)
            assert outcome.price == price
            exact = owed + price - outcome.work
            if outcome.rest:
                assert outcome.rest == exact > 0
                books.withheld[outcome.digest] = price, outcome.work
                books.lost += outcome.work
                continue
            owed = max(exact, -self._tariff.next(totals))
            books.clipped += owed - exact
            books.prices += price
            books.last = price
        assert (settlement.before, settlement.totals, settlement.owed) == (books.account.version, totals, owed)
        books.account = Account(totals, owed, settlement.before + 1)


def priced(text: str) -> Priced:
    """The samples of a payload, as the runner prices them."""
    costs = torch.tensor([float(each) for each in text.split()], dtype=torch.float64).unsqueeze(1)
    return Priced(costs, torch.zeros(len(costs), dtype=torch.int64))


@dataclass
class Customer:
    """An account: what it has spent, by its own count, and what it was told."""

    house: House
    name: str
    rng: random.Random
    key: str = ""
    spent: int = 0
    next_hashes: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        self.key = self.house.ledger.add_key(self.name)
        self.next_hashes = Tariff(self.house.calibration).floor

    def text(self, samples: int) -> str:
        """A payload that nobody has sent before: ordinary samples and strange ones."""
        self.number += 1
        costs = self.rng.choices([0.5, 1.0, 1.5, 2.0, 2.9], [4, 8, 2, 1, 1], k=samples)
        return " ".join(f"{cost}{'0' * self.number}" for cost in costs)

    def prepaid(self, hashes: float) -> str:
        """Stamps that claim about so much work."""
        resource = prepaid_resource(self.house.gate.realm, self.key)
        puzzle = self.house.kind.puzzle(hashes, resource)
        return format_prepaid(claimed_stamps(puzzle, DATE, f"r{self.rng.getrandbits(64):x}"))


@dataclass
class Attempt:
    """One request of a customer's, from its first sending to its answer.

    `header` is what pays for it now, `chain` what was sent and is not spent, `withheld` what the answer is withheld on.
    """

    customer: Customer
    text: str
    counted: bool = True
    header: str | None = None
    chain: list[str] = field(default_factory=list)
    withheld: str | None = None
    answer: object = None
    given_up: bool = False

    def request(self) -> Request:
        """The request as it is to be sent now."""
        if self.header is not None and self.header not in self.chain:
            self.chain.append(self.header)
        return self.customer.house.request(self.text, self.header, self.customer.key, counted=self.counted)

    def take(self, decision: Decision) -> None:
        """Look at what became of it, and claim the work that is asked for."""
        if isinstance(decision, Released):
            self.answer = decision.answer
            if decision.next_hashes is not None:
                self.customer.next_hashes = decision.next_hashes
                self._spend()
            return
        challenge = decision.problem.challenge
        assert challenge is not None, decision
        if kind_of(decision) == "more-required":
            if rest_ids(challenge) == []:
                self._spend()
                self.withheld = self.header
        else:
            assert kind_of(decision) == "pow-required", decision
        self.header = claimed(challenge)

    def run(self, gate: Gate, patience: int = 20) -> None:
        """Send it until it is answered, or given up."""
        for _ in range(patience):
            (decision,) = gate.answer([self.request()], self.customer.house.runner.run)
            self.take(decision)
            if self.answer is not None or self.given_up:
                return
        raise AssertionError(f"{self.text} was never answered")

    def _spend(self) -> None:
        self.customer.spent += sum(work_of(header) for header in self.chain)
        self.chain = []


def rest_ids(challenge: Challenge) -> list[str] | None:
    """The ids that a rest's token names; None for no rest."""
    payload = challenge.token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    found: list[str] | None = claims.get("ids")
    return found


def problem_of(decision: Decision) -> str | None:
    """The type of a refusal."""
    return decision.problem.type if isinstance(decision, Refused) else None
