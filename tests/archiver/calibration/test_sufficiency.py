"""Samples that cannot be fitted to are refused, each with its cause and a way out."""

import math

import pytest

from calpow.archiver.calibration.sufficiency import FEWEST_PER_CLASS, check_enough, check_varying, constant_scores
from calpow.archiver.errors import FittingError
from tests.support.scored_samples import population

LABELS = ("pate", "energy")


def test_classes_with_few_samples_are_refused_by_name() -> None:
    assert check_enough([30, 10, 12], ("a", "b", "c")) == 10
    message = rf"\Aclass c has 5 independent samples to calibrate with: give at least {FEWEST_PER_CLASS}\Z"
    with pytest.raises(FittingError, match=message):
        check_enough([30, 10, 5], ("a", "b", "c"))


def test_scores_that_vary_are_not_constant() -> None:
    assert constant_scores(population(0, 20), LABELS) == {}


@pytest.mark.parametrize("value", [0.0, 3.645, 1e12])
def test_a_score_that_never_varies_is_constant_whether_it_is_saturated_or_not(value: float) -> None:
    samples = population(0, 20)
    samples.costs[:, 0] = value
    assert constant_scores(samples, LABELS) == {"pate": value}


def test_rounding_is_no_difference() -> None:
    samples = population(0, 20)
    samples.costs[:, 1] = 3.0 + 1e-8 * samples.costs[:, 0]
    assert constant_scores(samples, LABELS) == {"energy": pytest.approx(3.0)}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused_by_name(value: float) -> None:
    samples = population(0, 20)
    samples.costs[7, 1] = value
    with pytest.raises(FittingError, match=r"\Ascore energy is not finite for some legitimate samples: leave it out\Z"):
        constant_scores(samples, LABELS)


def test_a_constant_score_that_is_needed_is_refused_in_one_line() -> None:
    check_varying({"norm": 1.0}, LABELS)
    with pytest.raises(FittingError, match=r"\Ascore energy is 3\.645 for every legitimate sample, .* teachers\Z"):
        check_varying({"energy": 3.645}, LABELS)
