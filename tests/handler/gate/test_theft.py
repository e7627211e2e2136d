"""Ways of stealing by somebody who knows the source: none of them is cheaper than single queries in sequence.

They are tried with two kinds of odd queries. In sequence, every query is paid with the work that the last answer
announced.
"""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from calpow.handler.policy.tariff import Tariff
from tests.support.customers import Attempt, Customer
from tests.support.gate_harness import GateHarness, TextDecision, decision_type, skip_fsync, trust_stamps, work_of
from tests.support.text_runner import scored_text

STOLEN = 1024
LIST = 256  # samples, the most that one request may hold
CAP = 1000.0  # at which a list still fits into a challenge
# Costs of odd queries: mild ones, whose price climbs to the cap over hundreds of queries, and plain noise.
ODD_COSTS = (1.25, 2.0)
# Cost of a filler: less than that of any legitimate query, so that it earns the most credit.
FILLER = 0.5


class Thief(Customer):
    """A customer who knows the calibration, and counts the answers that he has stolen."""

    cost = ODD_COSTS[0]
    fillers = 0
    stolen = 0

    @property
    def most(self) -> int:
        """The most odd queries in a list."""
        return LIST // (1 + self.fillers)

    def payload(self, queries: int) -> str:
        """Return a new list of odd queries, with fillers before every one."""
        self.number += 1
        costs = [*[FILLER] * self.fillers, self.cost] * queries
        return " ".join(f"{cost}#{self.number}.{index}" for index, cost in enumerate(costs))

    def attempt(self, queries: int, *, counted: bool = True, header: str | None = None) -> Attempt:
        """Return a request with a list of odd queries."""
        return Attempt(self, self.payload(queries), counted, header)

    def take(self, attempt: Attempt, queries: int) -> None:
        """Send a request with a list of odd queries until it is answered."""
        attempt.run(self.harness.gate)
        self.stolen += queries


@dataclass(frozen=True)
class Bill:
    """Work that was paid for stolen answers, and work that is still owed for them, in hashes."""

    paid: int
    owed: int


def one_by_one(thief: Thief) -> None:
    while thief.stolen < STOLEN:
        header = thief.prepaid(thief.next_hashes) if not thief.fillers else None
        thief.take(thief.attempt(1, header=header), 1)


def in_lists(thief: Thief) -> None:
    while thief.stolen < STOLEN:
        thief.take(thief.attempt(thief.most), thief.most)


def in_hidden_lists(thief: Thief) -> None:
    while thief.stolen < STOLEN:
        thief.take(thief.attempt(thief.most, counted=False), thief.most)


def at_once(thief: Thief) -> None:
    """Send four lists in one batch: all of them are asked for the price of the past, before the first is settled."""
    while thief.stolen < STOLEN:
        lists = [thief.attempt(thief.most // 4) for _ in range(4)]
        while waiting := [attempt for attempt in lists if attempt.answer is None]:
            decisions = thief.harness.gate.answer([attempt.request() for attempt in waiting], thief.harness.runner.run)
            for attempt, decision in zip(waiting, decisions, strict=True):
                attempt.take(decision)
        thief.stolen += thief.most


def at_four_workers(thief: Thief) -> None:
    """Send four lists to four workers at once. A request that ends with a 503 is sent again."""
    gates = [thief.harness.worker() for _ in range(4)]

    def run(attempt: Attempt, number: int) -> None:
        while attempt.answer is None:
            (decision,) = gates[number].answer([attempt.request()], thief.harness.runner.run)
            if decision_type(decision) != "ledger-unavailable":
                attempt.take(decision)

    with ThreadPoolExecutor(4) as pool:
        while thief.stolen < STOLEN:
            lists = [thief.attempt(thief.most // 4) for _ in range(4)]
            list(pool.map(run, lists, range(4)))
            thief.stolen += thief.most


def collected_later(thief: Thief) -> None:
    """Let all answers be withheld first, at the floor, retry every one, and collect them after forty fillers."""
    lists = [thief.attempt(thief.most, counted=False) for _ in range(STOLEN // thief.most)]
    for attempt in lists:
        while attempt.withheld is None and attempt.answer is None:
            send(thief, attempt)
        if attempt.withheld is not None:
            for _ in range(3):
                retry = thief.harness.request(attempt.text, attempt.withheld, thief.key, counted=False)
                thief.harness.gate.answer([retry], thief.harness.runner.run)
    for _ in range(40):
        thief.take(Attempt(thief, f"{FILLER}#filler{thief.number}"), 0)
        thief.number += 1
    for attempt in lists:
        thief.take(attempt, thief.most)


def send(thief: Thief, attempt: Attempt) -> TextDecision:
    (decision,) = thief.harness.gate.answer([attempt.request()], thief.harness.runner.run)
    attempt.take(decision)
    return decision


def in_debt(thief: Thief, *, counted: bool = False) -> None:
    """Present the least work with which a list is answered, which a thief can compute; it leaves the largest debt."""
    tariff = Tariff(thief.harness.policy)
    while thief.stolen < STOLEN:
        attempt = thief.attempt(thief.most, counted=counted)
        account = thief.harness.account(thief.name)
        samples = scored_text(attempt.text)
        charges = thief.harness.policy.charges(samples.scores, samples.labels, samples.identities)
        _, price = tariff.price(account, charges, 1.0)
        asked = tariff.asked(account, LIST if counted else 1, 1.0)
        assert isinstance(asked, int)
        enough = max(asked, account.owed + price - asked)
        rounded = (thief.prepaid(enough * (1 + step / 100)) for step in range(5))
        attempt.header = next(header for header in rounded if work_of(header) >= enough)
        thief.take(attempt, thief.most)


def in_debt_openly(thief: Thief) -> None:
    in_debt(thief, counted=True)


WAYS: Sequence[Callable[[Thief], None]] = (
    in_lists,
    in_hidden_lists,
    at_once,
    at_four_workers,
    collected_later,
    in_debt,
    in_debt_openly,
)


def bill(harness: GateHarness, way: Callable[[Thief], None], cost: float, fillers: int = 0) -> Bill:
    """Return the bill of a new account that steals in this way."""
    thief = Thief(harness, f"thief {way.__name__} {cost} {fillers}", random.Random(5))
    thief.cost, thief.fillers = cost, fillers
    way(thief)
    assert thief.stolen == STOLEN
    return Bill(thief.spent, harness.account(thief.name).owed)


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateHarness:
    trust_stamps(monkeypatch)
    skip_fsync(monkeypatch)
    return GateHarness(tmp_path / "ledger.db", cap=CAP)


@pytest.mark.parametrize(
    ("cost", "fillers"),
    [
        (ODD_COSTS[1], 1),
        pytest.param(ODD_COSTS[0], 0, marks=pytest.mark.slow),
        pytest.param(ODD_COSTS[0], 1, marks=pytest.mark.slow),
        pytest.param(ODD_COSTS[1], 0, marks=pytest.mark.slow),
    ],
)
def test_no_way_of_stealing_is_cheaper_than_one_by_one(harness: GateHarness, cost: float, fillers: int) -> None:
    plain = bill(harness, one_by_one, cost, fillers)
    for way in WAYS:
        other = bill(harness, way, cost, fillers)
        assert other.paid >= 0.999 * plain.paid, way.__name__
        assert other.paid + other.owed >= 0.999 * (plain.paid + plain.owed), way.__name__
