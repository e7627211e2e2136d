"""Prices that honest users can afford: the slack of each class, and how steeply prices may grow with wealth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calpow.archiver.calibration.policy_fit.cross_fitting import NO_SLACK, SLACKS, HeldOutCodes
from calpow.archiver.calibration.policy_fit.user_profiles import Profile, draw_users
from calpow.archiver.calibration.policy_fit.wealth import (
    Wealth,
    mean_over_tests,
    mean_payments,
    mean_wealth,
    prices_at,
)
from calpow.archiver.calibration.samples import Floats, Ints
from calpow.archiver.progress import track

# Steeper prices would rest on tails that samples hardly show.
EXPONENTS = (0.4, 0.5, 0.6)
LEAST_EXPONENT = 0.01
BISECTIONS = 10
# The share of the budget that is fitted to; the rest is for what the samples do not show.
BUDGET_SHARE = 0.65
USERS = 60
QUERIES = 1000
LENGTHS = (100, 1000)

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """Bounds of honest users' payments, in floors: in the mean over their queries, at the 99th percentile of users.

    shifted: of users of one class who send tolerated changes only. cap: the most that a sample costs.
    """

    budget: float = 2.0
    shifted: float = 2.0
    cap: float = 2948.0

    def fitted(self, profile: Profile) -> float:
        """Return the part of a profile's limit that is fitted to."""
        limit = self.shifted if profile.kind and profile.of_class is not None else self.budget
        return 1 + BUDGET_SHARE * (limit - 1)


def safe_slacks(
    held_out: HeldOutCodes, profiles: Sequence[Profile], limits: Limits, classes: int, rng: np.random.Generator
) -> Ints:
    """Return a slack with which users of each class can afford each test by itself: the one after the least.

    The least is found on the very samples that show what users pay, and luck makes it too small. The result are
    positions `[exponents, tests, classes]`, with a row for each of EXPONENTS; NO_SLACK where there is none.
    """
    tests = held_out.by_slack[0][""].shape[1]
    fits = np.ones((len(EXPONENTS), tests, classes, len(SLACKS)), bool)
    of_classes = [(profile.of_class, profile) for profile in profiles if profile.of_class is not None]
    for place, codes in enumerate(track(held_out.by_slack, "slacks", "slack")):
        for index, profile in of_classes:
            sent = draw_users(profile, codes, USERS, QUERIES, rng)
            # Of most tests, the least slack is one of the first.
            open_tests = np.flatnonzero(~fits[:, :, index, :place].any(axis=2).all(axis=0))
            if len(open_tests):
                means = mean_wealth(sent[:, :, open_tests], held_out.bets)
                fits[:, open_tests, index, place] &= _dearest(means, limits.cap) <= limits.fitted(profile)
    return np.where(fits.any(axis=3), np.minimum(fits.argmax(axis=3) + 1, NO_SLACK), NO_SLACK)


def _dearest(means: Wealth, cap: float) -> Floats:
    """Return what the 99th percentile of users pays for each test alone, `[exponents, tests]`."""
    logs = np.log(means)
    rows = []
    for exponent in EXPONENTS:
        prices = np.exp(np.minimum(exponent * logs, math.log(cap)))
        rows.append(np.percentile(mean_payments(prices, LENGTHS), 99, axis=0).max(axis=0))
    return np.array(rows)


def largest_exponent(means: Wealth, budget: float, cap: float, highest: float) -> float:
    """Return the largest exponent up to `highest` at which 99 of 100 users pay `budget` floors at most.

    LEAST_EXPONENT is returned where not even that can be afforded.
    """

    wealth = mean_over_tests(means)

    def fits(exponent: float) -> bool:
        paid = mean_payments(prices_at(wealth, exponent, cap), LENGTHS)
        return bool(np.percentile(paid, 99, axis=0).max() <= budget)

    if fits(highest):
        return highest
    low, high = LEAST_EXPONENT, highest
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
