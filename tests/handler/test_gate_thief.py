"""A thief who has read the source: whatever he does, a stolen answer costs what it costs one by one.

Each way of stealing is tried on two kinds of strangers, and compared with single queries in sequence, each paid with
what the last answer announced.
"""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from calpow.handler.gate.decision import Decision
from calpow.handler.policy.tariff import Tariff
from tests.support.customers import Attempt, Customer, priced
from tests.support.house import House, kind_of, spare_the_disk, trust_stamps, work_of

STOLEN = 1024
LIST = 256  # samples, the most that one request may hold
CAP = 1000.0  # at which a list still fits into a challenge
# The costs of strangers: mild ones, whose price climbs to the cap over hundreds of queries, and plain noise.
STRANGERS = (1.25, 2.0)
FILLER = 0.5  # cheaper than any legitimate query: what earns the most credit
FILLERS = (0, 1)  # before each stranger


class Thief(Customer):
    """Knows the calibration, and counts what he has."""

    cost = STRANGERS[0]
    fillers = 0
    stolen = 0

    @property
    def most(self) -> int:
        """Strangers in a list."""
        return LIST // (1 + self.fillers)

    def loot(self, strangers: int) -> str:
        """A list of strangers nobody has sent before, each with its fillers before it."""
        self.number += 1
        words = [*[str(FILLER)] * self.fillers, str(self.cost)] * strangers
        return " ".join([*words[:-1], f"{words[-1]}{'0' * (self.number % 200)}{self.number // 200 or ''}"])

    def attempt(self, strangers: int, *, counted: bool = True, header: str | None = None) -> Attempt:
        """A request for so many strangers' answers."""
        return Attempt(self, self.loot(strangers), counted, header)

    def take(self, attempt: Attempt, strangers: int) -> None:
        """Send it until it is answered."""
        attempt.run(self.house.gate)
        self.stolen += strangers


@dataclass(frozen=True)
class Bill:
    """What stolen answers came to, in hashes: what was paid for them, and what is still owed."""

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
    """Four at a time: all are asked for what the past says, before the first is settled."""
    while thief.stolen < STOLEN:
        lists = [thief.attempt(thief.most // 4) for _ in range(4)]
        while waiting := [each for each in lists if each.answer is None]:
            said = thief.house.gate.answer([each.request() for each in waiting], thief.house.runner.run)
            for attempt, decision in zip(waiting, said, strict=True):
                attempt.take(decision)
        thief.stolen += thief.most


def at_four_workers(thief: Thief) -> None:
    """As the last, in threads: what ends with a 503 is sent again."""
    gates = [thief.house.worker() for _ in range(4)]

    def run(attempt: Attempt, number: int) -> None:
        while attempt.answer is None:
            (decision,) = gates[number].answer([attempt.request()], thief.house.runner.run)
            if kind_of(decision) != "ledger-unavailable":
                attempt.take(decision)

    with ThreadPoolExecutor(4) as pool:
        while thief.stolen < STOLEN:
            lists = [thief.attempt(thief.most // 4) for _ in range(4)]
            list(pool.map(run, lists, range(4)))
            thief.stolen += thief.most


def collected_later(thief: Thief) -> None:
    """Has all answers withheld first, at the floor, retries each, and collects them at the end, cheapest first."""
    lists = [thief.attempt(thief.most, counted=False) for _ in range(STOLEN // thief.most)]
    for each in lists:
        while each.withheld is None and each.answer is None:
            send(thief, each)
        if each.withheld is not None:
            for _ in range(3):
                retry = thief.house.request(each.text, each.withheld, thief.key, counted=False)
                thief.house.gate.answer([retry], thief.house.runner.run)
    for _ in range(40):
        thief.take(Attempt(thief, f"{FILLER}{'0' * (300 + thief.number)}"), 0)
        thief.number += 1
    for each in lists:
        thief.take(each, thief.most)


def send(thief: Thief, attempt: Attempt) -> Decision:
    (decision,) = thief.house.gate.answer([attempt.request()], thief.house.runner.run)
    attempt.take(decision)
    return decision


def in_debt(thief: Thief, *, counted: bool = False) -> None:
    """Presents as little for each list as it takes to let it leave, which he can compute: with the largest debt."""
    tariff = Tariff(thief.house.calibration)
    while thief.stolen < STOLEN:
        attempt = thief.attempt(thief.most, counted=counted)
        account = thief.house.account(thief.name)
        _, price = tariff.price(account.totals, thief.house.calibration.evidence_of(priced(attempt.text)), 1.0)
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


def bill(house: House, way: Callable[[Thief], None], cost: float, fillers: int = 0) -> Bill:
    """What a new account pays to steal in this way."""
    thief = Thief(house, f"thief {way.__name__} {cost} {fillers}", random.Random(5))
    thief.cost, thief.fillers = cost, fillers
    way(thief)
    assert thief.stolen == STOLEN
    return Bill(thief.spent, house.account(thief.name).owed)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    trust_stamps(monkeypatch)
    spare_the_disk(monkeypatch)
    return House(tmp_path / "ledger.db", cap=CAP)


@pytest.mark.parametrize("cost", STRANGERS)
@pytest.mark.parametrize("fillers", FILLERS)
def test_no_way_of_stealing_is_cheaper_than_one_by_one(house: House, cost: float, fillers: int) -> None:
    plain = bill(house, one_by_one, cost, fillers)
    for way in WAYS:
        found = bill(house, way, cost, fillers)
        assert found.paid >= 0.999 * plain.paid, way.__name__
        assert found.paid + found.owed >= 0.999 * (plain.paid + plain.owed), way.__name__
