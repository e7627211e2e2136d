"""Accounts whose evidence rises at the same times: users who may be one, or who work together."""

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import combinations
from math import comb

# Rises of an account from which on it is compared with others; fewer coincide by chance.
FEWEST_RISES = 3
# Accounts that are compared, those with most rises first: a thousand would be half a million pairs.
MOST_COMPARED = 200
# Probability that any two accounts that know nothing of each other are named.
MOST_CHANCE = 0.01
# Readings that are remembered: half an hour of those every two seconds.
MOST_READINGS = 1_000


class JointRises:
    """The accounts against which evidence had risen, in each of the last readings of a ledger."""

    def __init__(self) -> None:
        self._evidence: Mapping[str, int] | None = None
        self._readings: deque[list[str]] = deque(maxlen=MOST_READINGS)

    def add(self, evidence: Mapping[str, int]) -> None:
        """Add a reading: the evidence against each account, by name."""
        before, self._evidence = self._evidence, evidence
        if before is not None:
            self._readings.append([name for name, height in evidence.items() if height > before.get(name, 0)])

    def groups(self) -> list[list[str]]:
        """Return groups of accounts whose rises coincide more often than by chance, each in alphabetical order.

        Two are compared by Fisher's exact test, one-sided, at MOST_CHANCE over the number of pairs (Bonferroni).
        Accounts that rise in every reading cannot be told from others that do.
        """
        members: dict[str, set[str]] = {}
        for one, other in self._coincident():
            joined = members.get(one, {one}) | members.get(other, {other})
            members.update(dict.fromkeys(joined, joined))
        unique = {id(group): sorted(group) for group in members.values()}
        return sorted(unique.values())

    def _coincident(self) -> Iterator[tuple[str, str]]:
        rises: dict[str, set[int]] = {}
        for reading, names in enumerate(self._readings):
            for name in names:
                rises.setdefault(name, set()).add(reading)
        risen = [name for name in rises if len(rises[name]) >= FEWEST_RISES]
        compared = sorted(risen, key=lambda name: (-len(rises[name]), name))[:MOST_COMPARED]
        limit = MOST_CHANCE / max(1, comb(len(compared), 2))
        for one, other in combinations(compared, 2):
            if chance_of_overlap(rises[one], rises[other], len(self._readings)) <= limit:
                yield one, other


def chance_of_overlap(one: set[int], other: set[int], readings: int) -> float:
    """Return the probability that two random sets of these sizes, of so many readings, share as many or more."""
    shared, largest = len(one & other), min(len(one), len(other))
    ways = sum(
        comb(len(one), count) * comb(readings - len(one), len(other) - count) for count in range(shared, largest + 1)
    )
    return ways / comb(readings, len(other))
