"""From an account's state to the work it is asked for, in steps of a quarter of a bit.

A challenge and PoW-Next state steps only, so that what an account owes does not tell finely what a query cost.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from calpow.handler.ledger.ledger import Account, Charge, Totals
from calpow.handler.policy.calibration_file import Calibration
from calpow.puzzle.puzzle import Puzzle

STEPS_PER_BIT = 4
# What one challenge may ask of the reference client.
LONGEST_SECONDS = 900.0
# A step is met by a puzzle that is nearest to it, so that the work of a price falls a little short of the price.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A request asks for more work than one challenge may; `samples` of it fit into one, 0 where not one does."""

    samples: int


class Tariff:
    """Prices of one calibration, in expected hashes; each is the work of a puzzle that can be asked for."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._floor = calibration.solver.work(calibration.floor_seconds)
        self._ideal, self._steps = _grid(calibration, self._floor)
        self.floor = self._step(self._floor)
        self.longest = self._steps[-1]

    def after(self, totals: Totals) -> int:
        """Price of a sample whose evidence is already in its account's totals."""
        return self._step(self._calibration.work(totals))

    def next(self, totals: Totals) -> int:
        """Price of one more sample, from the account's past."""
        return self._step(self._calibration.next_work(totals))

    def asked(self, account: Account, samples: int, factor: float) -> int | TooLarge:
        """Work to ask for before `samples` samples are looked at: their price from the past, and what is owed.

        `factor` is what the purpose of the request multiplies the price by. A prediction of one sample can always be
        asked for: it takes the longest challenge at most, and what is owed beyond that stays owed.
        """
        each = self.next(account.totals) * factor
        total = ceil(each * samples) + account.owed
        if total <= self.longest:
            return self.at_least(max(total, self.floor))
        if each > self.longest:
            return TooLarge(0)
        if samples == 1:
            return self.longest
        return TooLarge(max(1, int((self.longest - account.owed) // each)))

    def announced(self, account: Account) -> int:
        """Work of the account's next sample, for PoW-Next."""
        asked = self.asked(account, 1, 1.0)
        assert isinstance(asked, int)
        return asked

    def at_least(self, work: int) -> int:
        """The smallest step of at least so many hashes; the longest challenge's beyond that."""
        return self._steps[min(bisect_left(self._steps, work), len(self._steps) - 1)]

    def puzzle(self, step: int, resource: str) -> Puzzle:
        """The puzzle that takes a step's work."""
        return self._calibration.puzzle.puzzle(step, resource)

    def seconds(self, work: int) -> float:
        """Mean time of the reference client for so many hashes."""
        return self._calibration.solving_seconds(work)

    def price(self, totals: Totals, evidence: Sequence[Charge], factor: float) -> tuple[Totals, int]:
        """Book samples one after another: the totals after them, and the sum of the price after each."""
        price = 0
        for charge in evidence:
            totals += charge
            price += self.after(totals)
        return totals, ceil(price * factor)

    def _step(self, work: float) -> int:
        index = bisect_left(self._ideal, work * (1 - _ROUNDING))
        return self._steps[min(index, len(self._steps) - 1)]


def _grid(calibration: Calibration, floor: float) -> tuple[list[float], list[int]]:
    """Ideal works, ascending by quarters of a bit, and the works of the puzzles nearest to them.

    The floor is one of them; they go from the smallest puzzle to the longest challenge.
    """
    longest = max(floor, calibration.solver.work(LONGEST_SECONDS))
    found: dict[int, float] = {}
    index = 0
    while (ideal := floor * 2 ** (index / STEPS_PER_BIT)) >= 1:
        found.setdefault(_hashes(calibration, ideal), ideal)
        index -= 1
    index = 1
    while (ideal := floor * 2 ** (index / STEPS_PER_BIT)) <= longest:
        work = _hashes(calibration, ideal)
        # The puzzle nearest to an ideal may take longer than it.
        if work <= longest:
            found[work] = max(ideal, found.get(work, 0.0))
        index += 1
    steps = sorted(found)
    return [found[step] for step in steps], steps


def _hashes(calibration: Calibration, work: float) -> int:
    return calibration.puzzle.puzzle(work, "step").expected_hashes
