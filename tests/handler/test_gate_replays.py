"""A replayer, who keeps all that he ever sent or was sent: no id is ever spent twice, however late he comes with it.

The ledger forgets what has expired. Whether it forgets too early is seen by one that writes down all it ever spent.
"""

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from calpow.handler.gate.gate import Gate
from calpow.handler.ledger.ledger import MOST_USES, Admission, Settlement, Use, UseResult
from calpow.handler.ledger.sqlite import SqliteLedger
from calpow.handler.policy.policies import SolverFit
from calpow.puzzle.prepaid import prepaid_resource, stamp_id
from calpow.puzzle.wire import Challenge, Prepaid, format_prepaid, parse_solution
from tests.support.house import (
    MODEL,
    House,
    claimed,
    claimed_stamps,
    kind_of,
    many,
    refused,
    spare_the_disk,
    trust_stamps,
)

REPLAYERS = 120
EVENTS = 100
LEAPS = (0, 1, 30, 61, 200, 599, 601, 900, 1500, 1561, 3600, 7200, 8101)
TEXTS = [many(samples, 1.0 + samples / 1000) for samples in (1, 1, 1, 2, 3, 8, 20, 33)]


class Witness(SqliteLedger):
    """Remembers each id that was ever spent, and how often each was used.

    `works` is what the client knows of them: work by id. The id of a rest stays, however much is asked for.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.works: dict[str, set[int]] = {}
        self.spent: set[str] = set()
        self.uses: Counter[str] = Counter()
        self.withheld: dict[str, int] = {}

    def admit(self, uses: Sequence[Use], *, now: float) -> list[UseResult]:
        """Admit, and count what was admitted."""
        results = super().admit(uses, now=now)
        for use, result in zip(uses, results, strict=True):
            # What the ledger has forgotten in this moment looks fresh to it: the gate must know better.
            if result.admission is Admission.FRESH and self.spent.isdisjoint(use.ids):
                self.uses.update(use.ids)
                assert max(self.uses[each] for each in use.ids) <= MOST_USES
        return results

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Settle, and check what was spent."""
        written = super().settle(model, settlements, now=now)
        assert all(written)
        for settlement in settlements:
            for spending in settlement.spendings:
                assert self.spent.isdisjoint(spending.ids)
                self.spent.update(spending.ids)
                least, most = (sum(pick(self.works[each]) for each in spending.ids) for pick in (min, max))
                before = [0, *self.withheld.values()]
                assert any(least <= spending.outcome.work - each <= most for each in before), "work that was never done"
                if spending.outcome.rest:
                    self.withheld[spending.outcome.solution] = spending.outcome.work
        return written


@dataclass
class Replayer:
    """Knows headers and texts, and combines them as it comes."""

    house: House
    gate: Gate
    witness: Witness
    rng: random.Random
    key: str
    headers: list[str] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)

    def know(self, challenge: Challenge) -> None:
        """Claim a challenge's work, for later."""
        works = self.witness.works.setdefault(challenge.puzzle.resource, set())
        works.add(challenge.puzzle.expected_hashes)
        self.headers.append(claimed(challenge))

    def mint(self) -> None:
        """Claim prepaid work, dated now."""
        date = time.strftime("%y%m%d%H%M%S", time.gmtime(self.house.now))
        resource = prepaid_resource(self.gate.realm, self.key)
        puzzle = self.house.kind.puzzle(self.rng.choice((200, 992, 2000, 12_000)), resource)
        stamps = claimed_stamps(puzzle, date, f"r{self.rng.getrandbits(64):x}")[: self.rng.choice((3, 31))]
        for stamp in stamps:
            self.witness.works[stamp_id(stamp)] = {1 << puzzle.bits}
        self.headers.append(format_prepaid(stamps))

    def combine(self) -> None:
        """Put the stamps of two prepaid headers into one."""
        parsed = [parse_solution(header) for header in self.rng.sample(self.headers, min(2, len(self.headers)))]
        stamps = [stamp for each in parsed if isinstance(each, Prepaid) for stamp in each.stamps]
        if stamps:
            self.headers.append(format_prepaid(sorted(set(stamps))[:64]))

    def send(self) -> None:
        """Send something old or new with something."""
        header = self.rng.choice(self.headers[-6:] if self.rng.random() < 0.6 else self.headers)
        text = self.rng.choice([*TEXTS, *TEXTS, "?", "!"])
        explains, counted = self.rng.random() < 0.1, self.rng.random() < 0.6
        decision = self.house.ask(text, header, self.key, explains=explains, counted=counted, gate=self.gate)
        self.said[kind_of(decision)] += 1
        if kind_of(decision) == "more-required":
            challenge = refused(decision).challenge
            assert challenge is not None
            self.know(challenge)

    def event(self) -> None:
        """Do something, and let time pass now and then."""
        if self.rng.random() < 0.12:
            self.house.now += self.rng.choice(LEAPS)
        what = self.rng.random()
        if what < 0.12 or not self.headers:
            decision = self.house.ask(self.rng.choice(TEXTS), None, self.key, gate=self.gate)
            if kind_of(decision) == "pow-required":
                challenge = refused(decision).challenge
                assert challenge is not None
                self.know(challenge)
        elif what < 0.22:
            self.mint()
        elif what < 0.28:
            self.combine()
        else:
            self.send()


def test_whatever_is_sent_again_whenever_no_id_is_spent_twice_and_no_work_counts_that_was_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_stamps(monkeypatch)
    spare_the_disk(monkeypatch)
    house = House(tmp_path / "ledger.db", floor=20.0, solver=SolverFit(0.0, 50.0), cap=4.0)
    witness = Witness(house.path)
    gate = Gate(MODEL, witness, house.calibration, house.allowance, clock=lambda: house.now)
    said: Counter[str] = Counter()
    for seed in range(REPLAYERS):
        replayer = Replayer(house, gate, witness, random.Random(seed), house.ledger.add_key(f"replayer {seed}"))
        for _ in range(EVENTS):
            replayer.event()
        said += replayer.said
    kinds = ("answered", "more-required", "challenge-spent", "challenge-expired", "challenge-mismatch", "bad-payload")
    assert min(said[kind] for kind in kinds) > REPLAYERS / 2, said
    assert "pricing-unavailable" not in said
