"""Replays: however late a solution is sent again, and in whatever combination, no id is spent twice.

The ledger forgets ids that have expired. A witness beside it, which forgets nothing, notices if that is too early.
"""

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from calpow.handler.gate.gate import Gate
from calpow.handler.ledger.settlement import Settlement
from calpow.handler.ledger.solutions import MOST_USES, Admission, Use, UseResult
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.prepaid import prepaid_resource, stamp_id
from calpow.puzzle.wire import Challenge, Prepaid, format_prepaid, parse_solution
from tests.support.gate_harness import (
    GateHarness,
    claim_work,
    decision_type,
    payload_of,
    problem_of,
    skip_fsync,
    stamps_without_work,
    trust_stamps,
)

EVENTS = 100
# Seconds by which the clock is moved.
LEAPS = (0, 1, 30, 61, 200, 599, 601, 900, 1500, 1561, 3600, 7200, 8101)
TEXTS = [payload_of(samples, 1.0 + samples / 1000) for samples in (1, 1, 1, 2, 3, 8, 20, 33)]


class Witness(SqliteLedger):
    """A ledger that remembers all ids that were ever spent, and counts their uses.

    works: the work that was asked for, by id. A rest has one id, whatever work it was asked for at different times.
    withheld: the work of the withheld answers, by the names of their solutions.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.works: dict[str, set[int]] = {}
        self.spent: set[str] = set()
        self.uses: Counter[str] = Counter()
        self.withheld: dict[str, int] = {}

    def admit(self, uses: Sequence[Use], *, now: float) -> list[UseResult]:
        """Admit, and count the uses that were admitted."""
        results = super().admit(uses, now=now)
        for use, result in zip(uses, results, strict=True):
            # Ids that the ledger forgets at this moment look fresh to it. It is the gate that must refuse them.
            if result.admission is Admission.FRESH and self.spent.isdisjoint(use.ids):
                self.uses.update(use.ids)
                assert max(self.uses[name] for name in use.ids) <= MOST_USES
        return results

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Settle, and check the ids that were spent and their work."""
        written = super().settle(model, settlements, now=now)
        assert all(written)
        for settlement in settlements:
            for spending in settlement.spendings:
                assert self.spent.isdisjoint(spending.ids)
                self.spent.update(spending.ids)
                least, most = (sum(pick(self.works[name]) for name in spending.ids) for pick in (min, max))
                before = [0, *self.withheld.values()]
                assert any(least <= spending.outcome.work - earlier <= most for earlier in before), (
                    "work that was never done"
                )
                if spending.outcome.rest:
                    self.withheld[spending.outcome.solution] = spending.outcome.work
        return written


@dataclass
class Replayer:
    """A client that keeps all headers, and sends them again at random times with random payloads."""

    harness: GateHarness
    gate: Gate
    witness: Witness
    rng: random.Random
    key: str
    headers: list[str] = field(default_factory=list)
    decisions: Counter[str] = field(default_factory=Counter)

    def know(self, challenge: Challenge) -> None:
        """Keep a solution that claims a challenge's work."""
        works = self.witness.works.setdefault(challenge.puzzle.resource, set())
        works.add(challenge.puzzle.expected_hashes)
        self.headers.append(claim_work(challenge))

    def mint(self) -> None:
        """Keep prepaid stamps that claim their work, dated now."""
        date = time.strftime("%y%m%d%H%M%S", time.gmtime(self.harness.now))
        resource = prepaid_resource(self.gate.realm, self.key)
        puzzle = self.harness.kind.puzzle(self.rng.choice((200, 992, 2000, 12_000)), resource)
        stamps = stamps_without_work(puzzle, date, f"r{self.rng.getrandbits(64):x}")[: self.rng.choice((3, 31))]
        for stamp in stamps:
            self.witness.works[stamp_id(stamp)] = {1 << puzzle.bits}
        self.headers.append(format_prepaid(stamps))

    def combine(self) -> None:
        """Keep the stamps of two prepaid headers in one."""
        parsed = [parse_solution(header) for header in self.rng.sample(self.headers, min(2, len(self.headers)))]
        stamps = [stamp for header in parsed if isinstance(header, Prepaid) for stamp in header.stamps]
        if stamps:
            self.headers.append(format_prepaid(sorted(set(stamps))[:64]))

    def send(self) -> None:
        """Send a random header, rather a late one, with a random payload."""
        header = self.rng.choice(self.headers[-6:] if self.rng.random() < 0.6 else self.headers)
        text = self.rng.choice([*TEXTS, *TEXTS, "?", "!"])
        explains, counted = self.rng.random() < 0.1, self.rng.random() < 0.6
        decision = self.harness.ask(text, header, self.key, explains=explains, counted=counted, gate=self.gate)
        self.decisions[decision_type(decision)] += 1
        if decision_type(decision) == "more-required":
            challenge = problem_of(decision).challenge
            assert challenge is not None
            self.know(challenge)

    def event(self) -> None:
        """Act at random, and let time pass in some cases."""
        if self.rng.random() < 0.12:
            self.harness.now += self.rng.choice(LEAPS)
        action = self.rng.random()
        if action < 0.12 or not self.headers:
            decision = self.harness.ask(self.rng.choice(TEXTS), None, self.key, gate=self.gate)
            if decision_type(decision) == "pow-required":
                challenge = problem_of(decision).challenge
                assert challenge is not None
                self.know(challenge)
        elif action < 0.22:
            self.mint()
        elif action < 0.28:
            self.combine()
        else:
            self.send()


@pytest.mark.parametrize("replayers", [12, pytest.param(120, marks=pytest.mark.slow)])
def test_no_id_is_spent_twice_and_no_work_counts_that_was_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replayers: int
) -> None:
    trust_stamps(monkeypatch)
    skip_fsync(monkeypatch)
    harness = GateHarness(tmp_path / "ledger.db", floor=20.0, solver=SolverFit(0.0, 50.0), cap=4.0)
    witness = Witness(harness.path)
    gate = harness.worker_on(witness)
    decisions: Counter[str] = Counter()
    for seed in range(replayers):
        replayer = Replayer(harness, gate, witness, random.Random(seed), harness.ledger.add_key(f"replayer {seed}"))
        for _ in range(EVENTS):
            replayer.event()
        decisions += replayer.decisions
    kinds = ("answered", "more-required", "challenge-spent", "challenge-expired", "challenge-mismatch", "bad-payload")
    assert min(decisions[kind] for kind in kinds) > replayers / 2, decisions
    assert "pricing-unavailable" not in decisions
