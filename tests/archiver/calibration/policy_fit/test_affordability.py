"""Prices that honest users can afford: the slack of each class, and the largest exponent."""

import dataclasses

import numpy as np
import pytest

from calpow.archiver.calibration.policy_fit import affordability
from calpow.archiver.calibration.policy_fit.affordability import (
    EXPONENTS,
    LEAST_EXPONENT,
    LENGTHS,
    Limits,
    largest_exponent,
    safe_slacks,
)
from calpow.archiver.calibration.policy_fit.cross_fitting import NO_SLACK, SLACKS, HeldOutCodes, cross_fit
from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate
from calpow.archiver.calibration.policy_fit.user_profiles import profiles
from calpow.archiver.calibration.policy_fit.wealth import Codes, Wealth, mean_payments, mean_wealth, multiples
from tests.support.scored_samples import BETS, ODD, evidence_data, population

CAP = 2948.0
LIMITS = Limits(2.0, 4.0, CAP)


def paid(means: Wealth, exponent: float) -> float:
    return float(np.percentile(mean_payments(multiples(means, exponent, CAP), LENGTHS), 99, axis=0).max())


def test_a_part_of_each_limit_is_kept_for_what_the_samples_do_not_show() -> None:
    by_name = {profile.name: profile for profile in profiles(population(0, 20), ("noise",))}
    share = affordability.BUDGET_SHARE
    assert 0 < share < 1
    for name in ("uniform", "class c0", "uniform, noise", "mixture, noise"):
        assert LIMITS.fitted(by_name[name]) == pytest.approx(1 + share)
    assert LIMITS.fitted(by_name["class c0, noise"]) == pytest.approx(1 + 3 * share)


@pytest.mark.parametrize("budget", [1.3, 2.0, 4.0])
def test_the_exponent_is_the_largest_that_users_can_afford(budget: float) -> None:
    codes = (np.random.default_rng(0).random((40, 1000, 2)) < 0.1).astype(np.uint8) * 2
    means = mean_wealth(codes, BETS)
    exponent = largest_exponent(means, budget, CAP, 1.0)
    assert LEAST_EXPONENT < exponent < 1.0
    assert paid(means, exponent) <= budget < paid(means, 1.03 * exponent)


def test_an_exponent_that_is_affordable_is_not_raised() -> None:
    ordinary = mean_wealth(np.zeros((20, 1000, 1), np.uint8), BETS)
    assert largest_exponent(ordinary, 2.0, CAP, 0.7) == 0.7


def test_where_nothing_is_affordable_the_least_exponent_is_left() -> None:
    odd = mean_wealth(np.full((20, 1000, 1), ODD, np.uint8), BETS)
    assert largest_exponent(odd, 1.01, CAP, 1.0) == LEAST_EXPONENT


def test_users_of_ordinary_samples_need_little_slack_and_those_of_odd_ones_much() -> None:
    samples = population(0, 120)
    candidates = [Candidate(0, False), Candidate(1, True)]
    held_out = cross_fit(evidence_data(samples), candidates, (), BETS, np.random.default_rng(1))
    slacks = safe_slacks(held_out, profiles(samples, ()), LIMITS, 3, np.random.default_rng(2))
    assert slacks.shape == (len(EXPONENTS), 2, 3)
    assert (np.diff(slacks, axis=0) >= 0).all()
    assert slacks.max() < NO_SLACK
    dear = dataclasses.replace(held_out, by_slack=tuple({"": odd_class(codes[""])} for codes in held_out.by_slack))
    changed = safe_slacks(dear, profiles(samples, ()), LIMITS, 3, np.random.default_rng(2))
    assert (changed[:, :, 1] == NO_SLACK).all()
    assert (changed[:, :, [0, 2]] == slacks[:, :, [0, 2]]).all()


def odd_class(codes: Codes) -> Codes:
    """Return codes of which those of class 1 are as odd as can be."""
    rows = np.repeat(np.arange(3), len(codes) // 3)
    return np.where(rows[:, None] == 1, np.uint8(ODD), codes)


def test_the_slack_is_the_one_after_the_least_that_is_affordable() -> None:
    """Codes are odd up to the fourth slack, and ordinary from there."""
    samples = population(0, 40)
    by_slack = tuple({"": np.full((120, 1), ODD if place < 3 else 0, np.uint8)} for place in range(len(SLACKS)))
    held_out = HeldOutCodes(BETS, evidence_data(samples).kinds, by_slack)
    slacks = safe_slacks(held_out, profiles(samples, ()), LIMITS, 3, np.random.default_rng(0))
    assert slacks.tolist() == [[[4] * 3]] * len(EXPONENTS)
