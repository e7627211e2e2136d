"""Prices of an account's samples, from its state, to the nearest step of a quarter of a bit.

A challenge and PoW-Next state steps only, so that what an account owes does not tell finely what a query cost.
Decision 0006.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, zip_longest
from math import ceil, sqrt

from calpow.handler.ledger.account import NEW_ACCOUNT, Account
from calpow.handler.ledger.history import Charge, History
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.puzzle.puzzle import Puzzle

STEPS_PER_BIT = 4
# The longest challenge, in seconds of the reference client.
LONGEST_SECONDS = 900.0
# The cap is a multiple of the floor, and may be a step but for the last digit.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Result for a request that needs more work than one challenge may ask for.

    `samples` is the largest number of its samples that one challenge can pay for, or 0.
    """

    samples: int


class Tariff:
    """Prices under one policy, in expected hashes; every price is the work of a puzzle that can be asked for."""

    def __init__(self, policy: CalibratedPolicy) -> None:
        self._policy = policy
        self._floor = policy.solver.work(policy.floor_seconds)
        ideals, self._steps = _grid(policy, self._floor)
        # A price below the geometric mean of two steps is the lower one.
        self._bounds = [sqrt(low * high) for low, high in pairwise(ideals)]
        self._cheapest = min(bisect_left(self._steps, _hashes(policy, self._floor)), len(self._steps) - 1)
        most = policy.solver.work(policy.cap * policy.floor_seconds)
        dearest = bisect_right(ideals, most * (1 + _ROUNDING)) - 1
        self._dearest = max(self._cheapest, dearest)
        self.floor = self._steps[self._cheapest]
        self.longest = self._steps[-1]
        # An answer asks three times for the price after it.
        self._latest: tuple[History | None, int] = (None, 0)
        self._entry = self.next(NEW_ACCOUNT)

    def after(self, account: Account) -> int:
        """Return the price of a sample whose effect is already in the past of its account and of its group."""
        if account.is_plain:
            return self._step(self._policy.work(account.history))
        return self._capped(account, self._step(_dearer(self._policy.work, account)))

    def next(self, account: Account) -> int:
        """Return the price of one more sample, from the past of the account or of its group: the dearer of both.

        It is no more than an operator's ceiling for one of both.
        """
        if account.is_plain:
            history, price = self._latest
            if history is not account.history:
                price = self._step(self._policy.next_work(account.history))
                self._latest = (account.history, price)
            return price
        return self._capped(account, self._step(_dearer(self._policy.next_work, account)))

    def asked(self, account: Account, samples: int, factor: float) -> int | TooLarge:
        """Return the work to ask for before `samples` samples are scored: their price from the past, and what is owed.

        It is what so many ordinary samples cost, or the price of the next sample if that is more: what one sample after
        another would be asked for. `factor` multiplies the price: it is that of the request's purpose. The work for one
        predicted sample is the longest challenge's at most, and the ceiling's for each sample; what is owed beyond that
        stays owed. Free samples, which are predictions, are left out. For nothing but these, it is 0.
        """
        most, owed = self.longest, account.owed
        if not account.is_plain:
            most, owed = ceil(samples * factor * self._ceiling(account)), self.owed(account)
            samples -= self._free_now(account, samples, factor)
        if not samples:
            return self.at_least(owed) if owed > 0 else 0
        price = self.next(account) * factor
        if price > self.longest:
            return TooLarge(0)
        if samples > 1:
            payable, cost = self._ordinary(account, samples, (self.longest - owed) / factor)
            if payable < samples:
                return TooLarge(max(1, payable))
            price = max(price, cost * factor)
        return self.at_least(max(min(ceil(price) + owed, most), self.floor))

    def owed(self, account: Account) -> int:
        """Return the work that an account owes, without what is beyond an operator's ceiling."""
        return self._capped(account, account.owed)

    def payable(self, account: Account) -> int:
        """Return how many samples one challenge can pay for at the account's price now, at least 1.

        It is the number for samples that are not ordinary: those do not lower the price.
        """
        return max(1, (self.longest - account.owed) // self.next(account))

    def announced(self, account: Account) -> int:
        """Return the work of the account's next sample, for PoW-Next."""
        asked = self.asked(account, 1, 1.0)
        assert isinstance(asked, int)
        return asked

    def at_least(self, work: int) -> int:
        """Return the smallest step of at least `work` hashes, or the longest challenge if there is none."""
        return self._steps[min(bisect_left(self._steps, work), len(self._steps) - 1)]

    def puzzle(self, step: int, resource: str) -> Puzzle:
        """Return the puzzle of a step's work."""
        return self._policy.puzzle.puzzle(step, resource)

    def seconds(self, work: int) -> float:
        """Return the mean time of the reference client for `work` expected hashes."""
        return self._policy.solving_seconds(work)

    def price(self, account: Account, charges: Sequence[Charge], factor: float) -> tuple[Account, int]:
        """Add samples to an account and its group one by one; return both and the sum of the prices after every sample.

        A sample that the account, or another member of its group, was answered before reveals nothing, and costs the
        floor. A free sample costs nothing where it leaves the account, and its group, no dearer than a new account.
        """
        price, free = 0, 0 if account.is_plain else self._free(account, factor)
        for number, charge in enumerate(charges):
            queries = account.history.queries
            account = self._policy.evidence.charged(account, charge)
            if number >= free or self._step(_dearer(self._policy.work, account)) > self._entry:
                price += self.floor if account.history.queries == queries else self.after(account)
        return account, ceil(price * factor)

    def unanswered(self, before: Account, charges: Sequence[Charge]) -> tuple[Account, tuple[int, ...]]:
        """Return an account and its group while the answer to samples is withheld, and what they earn once it leaves.

        Each bet keeps the largest wealth that it had on the way: odd samples raise it whatever follows them.
        """
        passed = list(accumulate(charges, self._policy.evidence.charged, initial=before))
        history, credit = self._withheld([account.history for account in passed])
        groups = [account.group for account in passed if account.group is not None]
        if before.group is None:
            return before._replace(history=history), credit
        shared, more = self._withheld([group.history for group in groups])
        return before._replace(history=history, group=before.group._replace(history=shared)), credit + more

    def _withheld(self, passed: Sequence[History]) -> tuple[History, tuple[int, ...]]:
        """Return `unanswered` of one history, from those before the samples and after every one."""
        peaks = tuple([max(logs) for logs in zip(*map(self._policy.evidence.adopt, passed), strict=True)])
        return passed[0].unanswered(peaks, passed[-1])

    def _ordinary(self, account: Account, samples: int, most: float) -> tuple[int, int]:
        """Return how many of so many ordinary samples cost `most` hashes at most, and what these cost.

        Their prices fall until all are the last.
        """
        number, total, price = 0, 0, self.floor
        for work in self._ordinary_works(account):
            price = self._capped(account, self._step(work))
            if number == samples or total + price > most:
                return number, total
            number, total = number + 1, total + price
        more = min(samples - number, int((most - total) // price))
        return number + more, total + more * price

    def _ordinary_works(self, account: Account) -> Iterator[float]:
        """Yield the expected hashes of each of further ordinary samples, by the account or by its group."""
        own = self._policy.ordinary_works(account.history)
        if account.group is None:
            yield from own
            return
        # Prices fall to the last ones, at which they stay.
        last = (0.0, 0.0)
        for pair in zip_longest(own, self._policy.ordinary_works(account.group.history)):
            last = (last[0] if pair[0] is None else pair[0], last[1] if pair[1] is None else pair[1])
            yield max(last)

    def _free(self, account: Account, factor: float) -> int:
        """Return how many samples of a request an operator lets go free, if they are ordinary enough."""
        return account.free_samples if factor <= 1 else 0

    def _free_now(self, account: Account, samples: int, factor: float) -> int:
        """Return how many of so many samples are free by the past of the account and its group."""
        free = min(samples, self._free(account, factor))
        return free if free and self._step(_dearer(self._policy.next_work, account)) <= self._entry else 0

    def _ceiling(self, account: Account) -> int:
        """Return the most work for one sample of an account: the least ceiling of the account and its group."""
        ceiling = self.longest
        for limits in [one.limits for one in account.limited]:
            works = [
                self._policy.solver.work(limits.ceiling_seconds) if limits.ceiling_seconds is not None else None,
                self._floor * limits.ceiling_floors if limits.ceiling_floors is not None else None,
            ]
            for work in works:
                if work is not None:
                    place = bisect_right(self._steps, work * (1 + _ROUNDING)) - 1
                    ceiling = min(ceiling, self._steps[max(self._cheapest, place)])
        return ceiling

    def _capped(self, account: Account, work: int) -> int:
        return min(work, self._ceiling(account)) if account.limited else work

    def _step(self, work: float) -> int:
        nearest = bisect_left(self._bounds, work)
        return self._steps[max(self._cheapest, min(nearest, self._dearest))]


def _dearer(work: Callable[[History], float], account: Account) -> float:
    """Return the larger work of an account's history and of its group's."""
    own = work(account.history)
    return own if account.group is None else max(own, work(account.group.history))


def _grid(policy: CalibratedPolicy, floor: float) -> tuple[list[float], list[int]]:
    """Return ideal works, ascending by quarters of a bit, and the works of the puzzles nearest to them.

    The floor is one of them; they range from the smallest puzzle to the longest challenge.
    """
    longest = max(floor, policy.solver.work(LONGEST_SECONDS))
    ideals: dict[int, float] = {}
    index = 0
    while (ideal := floor * 2 ** (index / STEPS_PER_BIT)) >= 1:
        ideals.setdefault(_hashes(policy, ideal), ideal)
        index -= 1
    index = 1
    while (ideal := floor * 2 ** (index / STEPS_PER_BIT)) <= longest:
        work = _hashes(policy, ideal)
        # The puzzle nearest to an ideal may take longer than it.
        if work <= longest:
            ideals[work] = max(ideal, ideals.get(work, 0.0))
        index += 1
    steps = sorted(ideals)
    return [ideals[step] for step in steps], steps


def _hashes(policy: CalibratedPolicy, work: float) -> int:
    return policy.puzzle.puzzle(work, "step").expected_hashes
