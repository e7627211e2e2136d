"""Conformal thresholds: valid for the samples at hand with high confidence, in every reference group."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import beta

from calpow.archiver.calibration.policy_fit.conformal import (
    CONFIDENCES,
    FEWEST_ANSWERS,
    LARGEST_COUNTS,
    Groups,
    Reference,
    confidence,
    largest_rank,
    levels,
)
from calpow.archiver.calibration.samples import Floats, Ints

SHARES = (0.3, 0.1, 0.01)
ONE = np.ones(1)


def reference(scores: Floats, answers: Ints | None = None, units: Ints | None = None) -> Reference:
    """Return a reference of samples that are all answered with class 0, and no copies, unless told otherwise."""
    zeros, numbers = np.zeros(len(scores), np.int64), np.arange(len(scores))
    return Reference(scores, zeros if answers is None else answers, numbers if units is None else units)


def thresholds(*references: Reference, classes: int = 1, shares: tuple[float, ...] = SHARES) -> list[list[float]]:
    table: list[list[float]] = Groups.of(references, classes).thresholds(shares, np.ones(classes)).tolist()
    return table


@pytest.mark.parametrize("samples", [1, 5, 22, 60, 500, 5_000])
@pytest.mark.parametrize("share", [0.3, 0.1, 0.03, 0.01])
def test_the_rank_is_the_largest_whose_share_is_known_with_confidence(samples: int, share: float) -> None:
    rank = largest_rank(samples, share)
    if rank >= 0:
        assert beta.ppf(confidence(samples), rank + 1, samples - rank) <= share
    assert rank < samples
    if rank + 1 < samples:
        assert beta.ppf(confidence(samples), rank + 2, samples - rank - 1) > share


# In 100 samples, the largest is a threshold of 0.03 with less confidence: see below.
@pytest.mark.parametrize(
    ("share", "number"), [(0.3, 100), (0.1, 100), (0.3, 400), (0.1, 400), (0.03, 400), (0.03, 2_000)]
)
def test_no_larger_share_of_fresh_samples_exceeds_a_threshold_as_often_as_is_claimed(share: float, number: int) -> None:
    rng = np.random.default_rng(0)
    draws = [thresholds(reference(rng.random(number)), shares=(share,))[0][0] for _ in range(1_000)]
    # Of uniform samples, a share of 1 - t exceeds t. Two standard deviations of 1,000 draws are 0.032 at most.
    assert np.mean(1 - np.array(draws) <= share) >= confidence(number) - 0.032


def test_small_groups_need_more_confidence_than_large_ones() -> None:
    (fewest, highest), *_, (most, lowest) = CONFIDENCES
    assert confidence(5) == confidence(fewest) == highest >= 0.95
    assert confidence(10 * most) == confidence(most) == lowest >= 0.8
    for (few, high), (many, low) in pairwise(CONFIDENCES):
        assert few < many
        assert high > low
        assert confidence(round((few * many) ** 0.5)) == pytest.approx((high + low) / 2, abs=1e-3)


@pytest.mark.parametrize(("samples", "slack", "shown"), [(20, 1.0, 0), (25, 1.0, 1), (25, 1.25, 0), (32, 1.25, 1)])
def test_the_largest_sample_is_a_threshold_of_a_share_that_two_and_a_half_samples_make(
    samples: int, slack: float, shown: int
) -> None:
    """A class of 25 samples has a threshold for a tenth, and one of 20 has none."""
    scores = np.random.default_rng(0).random(samples)
    (row,) = Groups.of([reference(scores)], 1).thresholds((0.1,), np.array([slack])).tolist()
    assert row == ([scores.max()] if shown else [np.inf])


@pytest.mark.parametrize("share", [0.1, 0.03, 0.01])
def test_a_largest_sample_that_is_a_threshold_is_exceeded_too_often_in_one_draw_of_twelve_at_most(share: float) -> None:
    rng = np.random.default_rng(0)
    number = math.ceil(LARGEST_COUNTS / share)
    draws = [thresholds(reference(rng.random(number)), shares=(share,))[0][0] for _ in range(1_000)]
    assert np.mean(1 - np.array(draws) > share) <= math.exp(-LARGEST_COUNTS) + 0.022
    assert math.exp(-LARGEST_COUNTS) < 1 / 12


def test_thresholds_ascend_and_are_infinite_where_too_few_samples_show_a_share() -> None:
    (row,) = thresholds(reference(np.arange(40.0)))
    assert row == sorted(row)
    assert np.isfinite(row[:2]).all()
    assert row[2] == np.inf


def test_each_answer_has_thresholds_of_its_own() -> None:
    answers = np.repeat([0, 1], 300)
    both = reference(np.concatenate([np.arange(300.0), 1_000 + np.arange(300.0)]), answers)
    low, high = thresholds(both, classes=2)
    assert max(low) < 300 < 1_000 <= min(high)
    assert low == thresholds(reference(np.arange(300.0)))[0]


def test_odd_mistaken_samples_of_another_class_do_not_take_the_rare_levels_of_an_answer_away() -> None:
    """65 of 2,065 are a share of 0.031: only the rarest level begins among them, and it is there."""
    own = np.random.default_rng(0).random(2_000)
    mistaken = 5.0 + np.random.default_rng(1).random(65)
    (row,) = thresholds(reference(np.concatenate([own, mistaken])))
    assert max(row[:2]) < 1.0
    assert 5.0 < row[2] < mistaken.max()


def test_a_tolerated_change_is_a_group_of_its_own() -> None:
    plain, changed = np.arange(300.0), np.arange(300.0) + 50
    assert thresholds(reference(plain), reference(changed)) == thresholds(reference(changed))


def test_copies_count_once_by_the_oddest() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200)
    units = np.tile(np.arange(200), 5)
    copies = np.concatenate([scores, *(scores * rng.random(200) for _ in range(4))])
    assert thresholds(reference(copies, units=units)) == thresholds(reference(scores))


def test_copies_do_not_make_a_group_large_enough() -> None:
    scores = np.random.default_rng(0).random(24)
    copies = reference(np.tile(scores, 20), units=np.tile(np.arange(24), 20))
    assert thresholds(copies, shares=(0.1,)) == [[np.inf]]
    assert thresholds(reference(np.tile(scores, 20)), shares=(0.1,))[0][0] <= scores.max()


def test_an_answer_that_is_rare_is_compared_with_all_samples() -> None:
    scores = np.random.default_rng(0).random(400)
    answers = np.repeat([0, 1], [400 - FEWEST_ANSWERS + 1, FEWEST_ANSWERS - 1])
    _, rare, never = thresholds(reference(scores, answers), classes=3)
    assert rare == never == thresholds(reference(scores))[0]


@pytest.mark.parametrize("number", [32, 105, 313])
def test_four_fifths_of_the_samples_have_the_thresholds_that_all_have(number: int) -> None:
    scores = np.random.default_rng(0).random(number)
    least, shares = np.array([1.25]), (0.1, 0.03, 0.01)
    whole = Groups.of([reference(scores)], 1).thresholds(shares, least)
    part = Groups.of([reference(scores[: math.ceil(0.8 * number)])], 1, 0.8).thresholds(shares, least)
    assert np.isfinite(part).tolist() == np.isfinite(whole).tolist()
    assert (
        np.isfinite(Groups.of([reference(scores[:-1])], 1).thresholds(shares, least)).sum() < np.isfinite(whole).sum()
    )


def test_slack_divides_the_shares() -> None:
    groups = Groups.of([reference(np.random.default_rng(0).random(1_000))], 1)
    halves = groups.thresholds([share / 2 for share in SHARES], ONE)
    assert groups.thresholds(SHARES, 2 * ONE).tolist() == halves.tolist()
    assert groups.thresholds(SHARES, np.array([np.inf])).tolist() == [[np.inf] * 3]


def test_a_level_is_the_number_of_the_answers_thresholds_that_a_score_exceeds() -> None:
    table = np.array([[1.0, 2.0, np.inf], [10.0, 20.0, 30.0]])
    scores, answers = np.array([1.0, 1.5, 9e9, 1.5, 30.5]), np.array([0, 0, 0, 1, 1])
    assert levels(scores, answers, table).tolist() == [0, 1, 2, 0, 3]


def test_of_a_constant_score_no_sample_is_odd() -> None:
    constant = np.full(500, 3.645)
    table = Groups.of([reference(constant)], 1).thresholds(SHARES, ONE)
    assert levels(constant, np.zeros(500, np.int64), table).max() == 0
