"""Refined slacks: users of every kind can afford all tests together."""

import numpy as np

from calpow.archiver.calibration.policy_fit.affordability import Limits, largest_exponent
from calpow.archiver.calibration.policy_fit.cross_fitting import NO_SLACK, SLACKS, HeldOutCodes, cross_fit
from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate
from calpow.archiver.calibration.policy_fit.refinement import refine_slacks
from calpow.archiver.calibration.policy_fit.user_profiles import draw_users, profiles
from calpow.archiver.calibration.policy_fit.wealth import SHARES, mean_wealth
from tests.support.scored_samples import evidence_data, population

SAMPLES = population(0, 60)
USERS = profiles(SAMPLES, ())
LIMITS = Limits()


def test_slacks_that_everybody_can_afford_stay_as_they_are() -> None:
    ordinary = tuple({"": np.zeros((180, 2), np.uint8)} for _ in SLACKS)
    held_out = HeldOutCodes(evidence_data(SAMPLES).kinds, ordinary)
    slacks = np.array([[0, 1, 2], [3, NO_SLACK, 0]])
    refined = refine_slacks(held_out, USERS, LIMITS, (0, 1), slacks, 0.7, np.random.default_rng(0))
    assert refined.tolist() == slacks.tolist()


def test_the_answer_with_the_odd_samples_gets_more_slack_and_no_other() -> None:
    """Samples of class 2 are odd up to the fourth slack of their answer."""
    of_class = np.repeat(np.arange(3), 60)[:, None] == 2
    odd = tuple(
        {"": np.where(of_class & (place < 3), len(SHARES), np.zeros(1, np.uint8)).astype(np.uint8)}
        for place in range(len(SLACKS))
    )
    held_out = HeldOutCodes(evidence_data(SAMPLES).kinds, odd)
    slacks = np.zeros((1, 3), np.int64)
    refined = refine_slacks(held_out, USERS, LIMITS, (0,), slacks, 0.7, np.random.default_rng(0))
    assert slacks.tolist() == [[0, 0, 0]]
    assert refined[0, 2] >= 3
    codes = held_out.mixed((0,), refined)
    rng = np.random.default_rng(1)
    means = [(LIMITS.fitted(user), mean_wealth(draw_users(user, codes, 40, 1000, rng))) for user in USERS]
    assert min(largest_exponent(wealth, budget, LIMITS.cap, 0.7) for budget, wealth in means) > 0.2


def test_refined_slacks_never_fall() -> None:
    held_out = cross_fit(evidence_data(SAMPLES), [Candidate(0, False)], np.random.default_rng(0))
    slacks = np.array([[1, 0, 2]])
    refined = refine_slacks(held_out, USERS, LIMITS, (0,), slacks, 1.0, np.random.default_rng(0))
    assert (refined >= slacks).all()
    assert refined.max() <= NO_SLACK
