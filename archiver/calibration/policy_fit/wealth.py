"""Wealth of many simulated accounts at once, by the arithmetic of the policy `evidence`.

A sample is given as a code for each test: its level; the level plus `levels + 1` for a sample that earns no credit; and
`2 (levels + 1)` for one that the account was answered before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calpow.archiver.calibration.order import MOST_TESTS
from calpow.archiver.calibration.samples import Floats
from calpow.handler.policy.tariff import STEPS_PER_BIT

Codes = NDArray[np.uint8]
Wealth = NDArray[np.float32]


@dataclass(frozen=True)
class Bets:
    """The bets on one score: a bet for each pair of a share of legitimate samples and a stake."""

    shares: tuple[float, ...]
    stakes: tuple[float, ...]

    @property
    def repeated(self) -> int:
        """The code of a sample that the account was answered before."""
        return 2 * (len(self.shares) + 1)

    def beginning(self, entry: float) -> Wealth:
        """Return the wealth of a new account's bets, `[bets]`, of which the boldest hold a log wealth of `entry`."""
        start = np.ones((len(self.shares), len(self.stakes)), np.float32)
        start[:, self.stakes.index(max(self.stakes))] = np.exp(entry)
        return start.reshape(-1)

    def uncredited(self, codes: Codes) -> Codes:
        """Return the codes of the same samples without credit."""
        changed: Codes = np.where(codes <= len(self.shares), codes + np.uint8(len(self.shares) + 1), codes)
        return changed.astype(np.uint8)

    @cached_property
    def factors(self) -> Wealth:
        """The factor by which a sample multiplies the wealth of each bet, `[codes, bets]`."""
        credited = np.array(
            [
                [
                    1 - stake + (stake / share if place < level else 0)
                    for place, share in enumerate(self.shares)
                    for stake in self.stakes
                ]
                for level in range(len(self.shares) + 1)
            ]
        )
        ones = np.ones((1, credited.shape[1]))
        return np.concatenate([credited, np.maximum(credited, 1.0), ones]).astype(np.float32)


@dataclass(frozen=True)
class BettingScheme:
    """The bets on each score, the number of scores that are bet on at most, and whether `joint` may be one of them."""

    bets: Bets
    most_scores: int
    joint: bool


# Schemes by the least number of samples for an answer. Few samples show neither rare shares nor any share exactly, and
# a small stake grows with every sample beyond its share: a class that was drawn luckily would lock its users out. Every
# further score is one more draw, and the joint oddness of all of them many: scales fitted to 45 samples took users of
# one class to 16 floors. Where hardly a share below a tenth can be shown, a stake of 0.05 tells a theft among
# ten samples.
SCHEMES = {
    0: BettingScheme(Bets((0.1, 0.03), (0.5, 0.1, 0.05)), 3, joint=False),
    100: BettingScheme(Bets((0.1, 0.03, 0.01), (0.5, 0.1)), 3, joint=True),
    400: BettingScheme(Bets((0.3, 0.1, 0.03, 0.01), (0.5, 0.1, 0.02)), MOST_TESTS, joint=True),
}
# Log wealth beyond this buys no longer memory: the price has reached its cap long before.
HIGHEST_CEILING = 24.0


@dataclass(frozen=True)
class Walk:
    """Mean wealth of each test's bets after every query, `means` `[users, queries, tests]`, and the bets at the end."""

    means: Wealth
    end: Wealth


def walk(codes: Codes, bets: Bets, ceiling: float, start: Wealth) -> Walk:
    """Let users send samples with these codes, `[users, queries, tests]`.

    `start` is the wealth of their bets before, `[users, tests, bets]` or broadcastable; `ceiling` is the largest log
    wealth of a bet.
    """
    users, queries, tests = codes.shape
    # Bets first and accounts last: sums over the bets then run over whole rows.
    factors = np.ascontiguousarray(bets.factors.T)
    wealth = np.broadcast_to(start, (users, tests, len(factors))).reshape(users * tests, -1).T.copy()
    most = np.float32(np.exp(ceiling))
    means = np.empty((queries, users * tests), np.float32)
    flat = np.ascontiguousarray(codes.transpose(1, 0, 2).reshape(queries, users * tests))
    payoffs = np.empty_like(wealth)
    for query in range(queries):
        # All codes are within bounds: with another mode, `out` would be buffered.
        factors.take(flat[query], axis=1, out=payoffs, mode="clip")
        np.multiply(wealth, payoffs, out=wealth)
        np.maximum(wealth, 1, out=wealth)
        np.minimum(wealth, most, out=wealth)
        np.add.reduce(wealth, axis=0, out=means[query])
    means /= len(factors)
    end = wealth.T.reshape(users, tests, len(factors))
    return Walk(means.reshape(queries, users, tests).transpose(1, 0, 2), end)


def betting_scheme(samples: float) -> BettingScheme:
    """Return the scheme for so many legitimate samples for an answer."""
    return SCHEMES[max(least for least in SCHEMES if least <= samples)]


def mean_wealth(codes: Codes, bets: Bets, entry: float = 0.0) -> Wealth:
    """Return the mean wealth of the tests' bets after every query of new accounts, of the shape of `codes`.

    `entry` is the log wealth that the boldest bets begin with.
    """
    return walk(codes, bets, HIGHEST_CEILING, bets.beginning(entry)).means


def mean_wealth_by_entry(codes: Codes, bets: Bets, entries: Sequence[float]) -> list[Wealth]:
    """Return for each of `entries` what `mean_wealth` returns; all are walked together."""
    start = np.stack([bets.beginning(entry) for entry in entries]).repeat(len(codes), axis=0)
    walked = walk(np.tile(codes, (len(entries), 1, 1)), bets, HIGHEST_CEILING, start[:, None])
    return np.split(walked.means, len(entries))


def mean_over_tests(means: Wealth) -> Floats:
    """Return the mean wealth `[users, queries]` over the tests, by which an account pays."""
    # Test by test: numpy takes several times as long to add up many short rows.
    mean: Floats = means[:, :, 0].astype(np.float64)
    for test in range(1, means.shape[2]):
        mean += means[:, :, test]
    mean /= means.shape[2]
    return mean


def multiples(means: Wealth, exponent: float, cap: float) -> Floats:
    """Return the price of every query in floors, `[users, queries]`, from the means of the tests in use."""
    return prices_at(mean_over_tests(means), exponent, cap)


def prices_at(wealth: Floats, exponent: float, cap: float) -> Floats:
    """Return the price in floors at each mean wealth over the tests.

    Prices are those of the nearest step, as a worker asks for them.
    """
    steps = np.log2(wealth)
    steps *= exponent * STEPS_PER_BIT
    np.rint(steps, out=steps)
    np.minimum(steps, math.floor(math.log2(cap) * STEPS_PER_BIT), out=steps)
    steps /= STEPS_PER_BIT
    prices: Floats = np.exp2(steps, out=steps)
    return prices


def mean_payments(prices: Floats, lengths: Sequence[int]) -> Floats:
    """Return mean prices over users' first queries, `[users, lengths, ...]`, of prices `[users, queries, ...]`."""
    payments: Floats = np.stack([prices[:, :length].mean(axis=1) for length in lengths], axis=1)
    return payments
