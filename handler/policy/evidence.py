"""The policy `evidence`: bets against the hypothesis that an account's queries are legitimate, and their wealth.

Each score of a sample is compared with those of legitimate samples that got the same answer. Its *level* says how rare
it is: level k means that a share of at most `levels[k - 1]` of legitimate samples is that odd. Every pair of a level a
and a stake s is a bet that pays 1 - s + s / a where the sample reaches the level, else 1 - s: an e-value, whose mean is
at most 1 for a legitimate user. An account holds the wealth of each bet, the product of its payoffs, kept at 1 or more,
so that nothing can be banked: a CUSUM of e-values. An answer costs the floor times a power of the mean wealth.

Vovk and Wang, "E-values: calibration, combination and applications", 2021; Shin, Ramdas and Rinaldo, "E-detectors",
2023; Vovk, "Testing randomness online", 2021. docs/policy.md states the assumptions and what is guaranteed.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from calpow.handler.ledger.account import Account
from calpow.handler.ledger.history import MICRO, Charge, History, SampleIdentity
from calpow.handler.policy.joint_oddness import OddnessScale


@dataclass(frozen=True)
class ScoreTest:
    """The oddness of one score, by class of the answer.

    score: position of the score among those of the policy; None for the joint oddness of all scales.
    high: for each class, ascending numbers; a score that exceeds k of them reaches level k. A class has fewer of them
        than there are levels where too few legitimate samples show how rare the last levels are.
    low: the same for small scores: descending numbers that a score falls below. Empty for scores that are read from
        one side only.
    """

    score: int | None
    high: tuple[tuple[float, ...], ...]
    low: tuple[tuple[float, ...], ...] = ()

    def level(self, value: float, label: int) -> int:
        """Return the level of a score whose sample was answered with class `label`; 0 for an ordinary one."""
        level = bisect_left(self.high[label], value)
        if self.low:
            level = max(level, bisect_left(self.low[label], -value, key=_negative))
        return level


def _negative(number: float) -> float:
    return -number


@dataclass(frozen=True)
class Evidence:
    """The policy.

    tests: the scores that are bet on, each with bets of its own.
    scales: those of the scores that make up the joint oddness; empty where no test is of it.
    levels: descending shares of legitimate samples.
    stakes: the parts of a bet's wealth that are staked on a sample.
    exponent: the power of the mean wealth that multiplies the floor.
    ceiling: the largest log wealth of a bet, from which an account recovers.
    entry: the log wealth of a new account in the bets of the largest stake, which ordinary samples soon lose. It makes
        accounts that are given up after a few queries dear.
    likeness: the number of bits, of `history.SKETCH_BITS`, in which a sketch differs at most from that of a near-copy.
    """

    tests: tuple[ScoreTest, ...]
    scales: tuple[OddnessScale, ...]
    levels: tuple[float, ...]
    stakes: tuple[float, ...]
    exponent: float
    ceiling: float
    entry: float
    likeness: int

    @cached_property
    def bets(self) -> int:
        """The number of bets, whose wealth an account holds."""
        return len(self.tests) * len(self.levels) * len(self.stakes)

    @cached_property
    def steps(self) -> tuple[tuple[int, ...], ...]:
        """By level of a sample, what it adds to the log wealth of one score's bets, in millionths: `[levels + 1]`."""
        return tuple(
            tuple(
                round(MICRO * math.log(1 - stake + (stake / share if position < level else 0)))
                for position, share in enumerate(self.levels)
                for stake in self.stakes
            )
            for level in range(len(self.levels) + 1)
        )

    @cached_property
    def ordinary(self) -> tuple[int, ...]:
        """Steps of a sample that is odd by no score: the log wealth of each bet, in millionths, 0 or less."""
        return self.steps[0] * len(self.tests)

    @cached_property
    def beginning(self) -> tuple[int, ...]:
        """Log wealth of a new account's bets, in millionths."""
        boldest, entry = max(self.stakes), round(MICRO * self.entry)
        return tuple(entry if stake == boldest else 0 for _ in self.tests for _ in self.levels for stake in self.stakes)

    def charge(self, scores: Sequence[float], label: int, identity: SampleIdentity) -> Charge:
        """Return what a sample with these scores, answered with class `label`, does to its account.

        The first score is the cost that the paper's policy sums.
        """
        joint = 0.0
        for scale in self.scales:
            joint += scale.oddness(scores[scale.score], label)
        steps: list[int] = []
        for test in self.tests:
            value = joint if test.score is None else scores[test.score]
            steps += self.steps[test.level(value, label)]
        return Charge(round(scores[0] * MICRO), tuple(steps), identity)

    def after(self, history: History, charge: Charge) -> History:
        """Return an account's history after one more answered sample."""
        return history.after(self.adopt(history), charge, round(self.ceiling * MICRO), self.likeness)

    def charged(self, account: Account, charge: Charge) -> Account:
        """Return an account, and its group, after one more answered sample.

        What one member of a group was answered, all were: it changes neither the member's history nor the group's.
        """
        own, group = account.history, account.group
        if group is None:
            return account.with_history(self.after(own, charge))
        shared = group.history
        if own.holds(charge.identity) or shared.holds(charge.identity):
            own, shared = (replace(history, wealth=self.adopt(history)) for history in (own, shared))
        else:
            own, shared = self.after(own, charge), self.after(shared, charge)
        return account._replace(history=own, group=group._replace(history=shared))

    def adopt(self, history: History) -> tuple[int, ...]:
        """Return the wealth of an account in this policy's bets.

        An account that has another number of bets, of an earlier calibration, keeps the mean of its wealth.
        """
        if len(history.wealth) == self.bets:
            return history.wealth
        if not history.wealth:
            return self.beginning
        kept = min(round(MICRO * _log_mean(history.wealth)), round(self.ceiling * MICRO))
        return (kept,) * self.bets

    def log_multiple(self, history: History) -> float:
        """Return the log of the multiple of the floor that an account's next sample costs; at least 0."""
        return self.exponent * _log_mean(self.adopt(history))

    def ordinary_log_multiples(self, history: History) -> Iterator[float]:
        """Yield the log multiple of the floor after each of further ordinary samples, the last of which is 0.

        They are of level 0 by every test, new, and no near-copies.
        """
        steps, ceiling = self.ordinary, round(self.ceiling * MICRO)
        # Of bets without wealth, ordinary samples leave it at that.
        held = [(log, step) for log, step in zip(self.adopt(history), steps, strict=True) if log]
        while held:
            held = [(min(log + step, ceiling), step) for log, step in held if log + step > 0]
            yield self.exponent * _log_mean_of([log for log, _ in held], self.bets)
        yield 0.0


# Cached, because an account is priced several times between two changes of its wealth.
@lru_cache(maxsize=256)
def _log_mean(wealth: tuple[int, ...]) -> float:
    """Return the log of the mean wealth of bets whose logs are given in millionths; 0 without bets."""
    return _log_mean_of([log for log in wealth if log], len(wealth))


def _log_mean_of(held: Sequence[int], bets: int) -> float:
    """Return the log of the mean wealth of so many bets: `held` are the logs of those that hold any."""
    if not held:
        return 0.0
    most = max(held)
    scaled = sum([math.exp((log - most) / MICRO) for log in held]) + (bets - len(held)) * math.exp(-most / MICRO)
    return most / MICRO + math.log(scaled / bets)
