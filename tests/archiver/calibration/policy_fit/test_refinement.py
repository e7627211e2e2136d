"""Refined slacks: users of every kind can afford all tests together."""

from collections.abc import Sequence

import numpy as np

from calpow.archiver.calibration.policy_fit.affordability import Limits, largest_exponent
from calpow.archiver.calibration.policy_fit.cross_fitting import NO_SLACK, SLACKS, HeldOutCodes, cross_fit
from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate
from calpow.archiver.calibration.policy_fit.refinement import refine_slacks
from calpow.archiver.calibration.policy_fit.user_profiles import Profile, draw_users, profiles
from calpow.archiver.calibration.policy_fit.wealth import Bets, mean_wealth
from calpow.archiver.calibration.samples import Ints
from tests.support.scored_samples import BETS, ODD, evidence_data, population

SAMPLES = population(0, 60)
USERS = profiles(SAMPLES, ())
LIMITS = Limits()
EXPONENT = 0.5


def test_slacks_that_everybody_can_afford_stay_as_they_are() -> None:
    ordinary = tuple({"": np.zeros((180, 2), np.uint8)} for _ in SLACKS)
    held_out = HeldOutCodes(BETS, evidence_data(SAMPLES).kinds, ordinary)
    slacks = np.array([[0, 1, 2], [3, NO_SLACK, 0]])
    refined = refine_slacks(held_out, USERS, LIMITS, (0, 1), slacks, 0.7, np.random.default_rng(0))
    assert refined.tolist() == slacks.tolist()


def test_the_answer_with_the_odd_samples_gets_more_slack_and_no_other() -> None:
    """Samples of class 2 are odd up to the fourth slack of their answer."""
    of_class = np.repeat(np.arange(3), 60)[:, None] == 2
    odd = tuple(
        {"": np.where(of_class & (place < 3), ODD, np.zeros(1, np.uint8)).astype(np.uint8)}
        for place in range(len(SLACKS))
    )
    held_out = HeldOutCodes(BETS, evidence_data(SAMPLES).kinds, odd)
    slacks = np.zeros((1, 3), np.int64)
    refined = refine_slacks(held_out, USERS, LIMITS, (0,), slacks, 0.7, np.random.default_rng(0))
    assert slacks.tolist() == [[0, 0, 0]]
    assert refined[0, 2] >= 3
    codes = held_out.mixed((0,), refined)
    rng = np.random.default_rng(1)
    means = [(LIMITS.fitted(user), mean_wealth(draw_users(user, codes, 40, 1000, rng), BETS)) for user in USERS]
    assert min(largest_exponent(wealth, budget, LIMITS.cap, 0.7) for budget, wealth in means) > 0.2


def test_an_answer_whose_samples_are_ordinary_keeps_its_slack() -> None:
    """Two samples of class 1 are odd up to the fourth slack, and the others take more wealth away than these add.

    Other answers take less away, but more slack there would help nobody.
    """
    samples, bets = population(0, 80), Bets((0.1, 0.03), (0.5, 0.1))
    odd = np.isin(np.arange(240), np.flatnonzero((samples.classes == 1) & (samples.labels == 1))[:2])
    by_slack = tuple(
        {"": np.where(odd[:, None] & (place < 3), len(bets.shares), np.zeros(1, np.uint8)).astype(np.uint8)}
        for place in range(len(SLACKS))
    )
    held_out, users = HeldOutCodes(bets, evidence_data(samples).kinds, by_slack), profiles(samples, ())
    slacks = np.zeros((1, 3), np.int64)
    (refined,) = refine_slacks(held_out, users, LIMITS, (0,), slacks, 1.0, np.random.default_rng(0)).tolist()
    assert (refined[0], refined[2]) == (0, 0)
    assert refined[1] >= 3


def test_users_of_a_class_that_is_mistaken_for_another_can_afford_their_answers() -> None:
    """One in five samples of class 1 is answered with class 0, and odd among those of class 0."""
    samples = population(0, 300)
    mistaken = np.flatnonzero(samples.classes.numpy() == 1)[:60]
    samples.labels[mistaken] = 0
    samples.costs[mistaken, 0] += 5.0
    held_out = cross_fit(evidence_data(samples), [Candidate(0, False)], (), BETS, np.random.default_rng(0))
    users = profiles(samples, ())
    slacks = np.ones((1, 3), np.int64)
    assert affordable(held_out, users, slacks)["class c1"] < 0.1
    refined = refine_slacks(held_out, users, LIMITS, (0,), slacks, EXPONENT, np.random.default_rng(1))
    assert min(affordable(held_out, users, refined).values()) == EXPONENT
    assert refined[0, 0] > refined[0, 2]


def affordable(held_out: HeldOutCodes, users: Sequence[Profile], slacks: Ints) -> dict[str, float]:
    """Return the largest exponent up to EXPONENT with which users of each profile pay two floors at most."""
    codes, rng = held_out.mixed((0,), slacks), np.random.default_rng(2)
    means = {user.name: mean_wealth(draw_users(user, codes, 100, 1_000, rng), BETS) for user in users}
    return {name: largest_exponent(wealth, LIMITS.budget, LIMITS.cap, EXPONENT) for name, wealth in means.items()}


def test_refined_slacks_never_fall() -> None:
    held_out = cross_fit(evidence_data(SAMPLES), [Candidate(0, False)], (), BETS, np.random.default_rng(0))
    slacks = np.array([[1, 0, 2]])
    refined = refine_slacks(held_out, USERS, LIMITS, (0,), slacks, 1.0, np.random.default_rng(0))
    assert (refined >= slacks).all()
    assert refined.max() <= NO_SLACK
