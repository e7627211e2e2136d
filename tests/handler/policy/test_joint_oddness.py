"""The joint oddness of a sample: how rarely legitimate samples exceed each of its scores, summed over the scores."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.handler.ledger.history import SampleIdentity
from calpow.handler.policy.evidence import ScoreTest
from calpow.handler.policy.joint_oddness import MOST_ODDNESS, ODDNESS, SHARES, OddnessScale
from tests.support.calibrations import EVIDENCE

SCALE = OddnessScale(0, ((0.0, 1.0, 2.0, 4.0, 5.0), (7.0,) * 5))
NUMBERS = st.floats(-1e12, 1e12)


@pytest.mark.parametrize("place", range(len(SHARES)))
def test_a_quantile_is_as_odd_as_its_share_is_rare(place: int) -> None:
    assert SCALE.oddness(SCALE.quantiles[0][place], 0) == pytest.approx(-math.log(SHARES[place]))


@pytest.mark.parametrize(
    ("value", "oddness"),
    [
        (-9.0, ODDNESS[0]),
        (3.0, (ODDNESS[2] + ODDNESS[3]) / 2),
        (6.0, 2 * ODDNESS[4] - ODDNESS[3]),
        (99.0, MOST_ODDNESS),
    ],
    ids=["ordinary", "between", "beyond", "far beyond"],
)
def test_oddness_is_linear_between_quantiles_and_beyond_them_up_to_the_most(value: float, oddness: float) -> None:
    assert SCALE.oddness(value, 0) == pytest.approx(oddness)


def test_a_score_that_is_the_same_for_every_legitimate_sample_is_odd_where_it_is_larger() -> None:
    assert [SCALE.oddness(value, 1) for value in (6.0, 7.0, 7.1)] == [ODDNESS[0], ODDNESS[0], MOST_ODDNESS]


@given(st.lists(NUMBERS, min_size=5, max_size=5).map(sorted), NUMBERS, NUMBERS)
def test_a_larger_score_is_no_less_odd(quantiles: list[float], one: float, other: float) -> None:
    scale = OddnessScale(0, (tuple(quantiles),))
    less, more = scale.oddness(min(one, other), 0), scale.oddness(max(one, other), 0)
    assert ODDNESS[0] <= less <= more + 1e-9 <= MOST_ODDNESS + 1e-9


def test_a_test_of_the_joint_oddness_sums_that_of_every_scale() -> None:
    scales = (SCALE, dataclasses.replace(SCALE, score=1))
    both = 2 * SCALE.oddness(4.0, 0)
    for threshold, reached in ((both - 0.01, True), (both + 0.01, False)):
        policy = dataclasses.replace(EVIDENCE, tests=(ScoreTest(None, ((threshold,), ())),), scales=scales)
        charge = policy.charge((4.0, 4.0), 0, SampleIdentity(b"12345678"))
        assert charge.steps == policy.steps[int(reached)]
