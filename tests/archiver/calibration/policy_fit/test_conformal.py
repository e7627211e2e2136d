"""Conformal thresholds: valid for the samples at hand with high confidence, in every reference group."""

import numpy as np
import pytest
from scipy.stats import beta

from calpow.archiver.calibration.policy_fit.conformal import (
    CONFIDENCES,
    FEWEST_ANSWERS,
    SMALLEST_GROUP,
    Groups,
    Reference,
    confidence,
    largest_rank,
    levels,
)
from calpow.archiver.calibration.samples import Floats, Ints

SHARES = (0.3, 0.1, 0.01)
ONE = np.ones(1)


def reference(
    scores: Floats, answers: Ints | None = None, classes: Ints | None = None, units: Ints | None = None
) -> Reference:
    """Return a reference of samples that are all of class 0, and no copies, unless told otherwise."""
    zeros, numbers = np.zeros(len(scores), np.int64), np.arange(len(scores))
    answers = zeros if answers is None else answers
    return Reference(scores, answers, answers if classes is None else classes, numbers if units is None else units)


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


@pytest.mark.parametrize("number", [100, 400])
@pytest.mark.parametrize("share", [0.3, 0.1, 0.03])
def test_no_larger_share_of_fresh_samples_exceeds_a_threshold_as_often_as_is_claimed(share: float, number: int) -> None:
    rng = np.random.default_rng(0)
    draws = [thresholds(reference(rng.random(number)), shares=(share,))[0][0] for _ in range(1_000)]
    # Of uniform samples, a share of 1 - t exceeds t. Two standard deviations of 1,000 draws are 0.032 at most.
    assert np.mean(1 - np.array(draws) <= share) >= confidence(number) - 0.032


def test_small_groups_need_more_confidence_than_large_ones() -> None:
    (few, high), (many, low) = CONFIDENCES
    assert confidence(5) == confidence(few) == high >= 0.9
    assert confidence(10 * many) == confidence(many) == low
    assert low < confidence(round((few * many) ** 0.5)) < high


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


@pytest.mark.parametrize(("odd", "counts"), [(SMALLEST_GROUP, True), (SMALLEST_GROUP - 1, False)])
def test_samples_of_another_class_with_the_same_answer_are_a_group_where_they_are_enough(
    odd: int, *, counts: bool
) -> None:
    classes = np.repeat([0, 1], [2_000, odd])
    answers = np.zeros(len(classes), np.int64)
    (row,) = thresholds(reference(np.where(classes == 1, 5.0, 0.0), answers, classes))
    assert (row[0] == 5.0) is counts


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
    scores = np.concatenate([np.random.default_rng(0).random(500), np.full(100, 5.0)])
    classes = np.repeat([0, 1], [500, 100])
    units = np.concatenate([np.arange(500), 500 + np.arange(100) // 20])
    answers = np.zeros(600, np.int64)
    (row,) = thresholds(reference(scores, answers, classes, units))
    assert row[0] < 1.0
    assert thresholds(reference(scores, answers, classes))[0][0] == 5.0


def test_an_answer_that_is_rare_is_compared_with_all_samples() -> None:
    scores = np.random.default_rng(0).random(400)
    answers = np.repeat([0, 1], [400 - FEWEST_ANSWERS + 1, FEWEST_ANSWERS - 1])
    _, rare, never = thresholds(reference(scores, answers), classes=3)
    assert rare == never == thresholds(reference(scores))[0]


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
