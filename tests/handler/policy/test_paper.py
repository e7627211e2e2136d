"""The paper's policy: distance from the baseline is punished on both sides, up to the cap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.handler.policy.calibrated_policy import CalibratedPolicy, PolicyName
from calpow.handler.policy.paper import Paper
from tests.support.calibrations import FLOOR_SECONDS, calibrated_policy, charge_of, history


def paper(rule: Paper) -> CalibratedPolicy:
    return calibrated_policy(name=PolicyName.paper, paper=rule)


@given(distance=st.floats(0, 1e9))
def test_distance_on_either_side_costs_alike(distance: float) -> None:
    policy = paper(Paper(slope=1e6, intercept=0.0, base=1.0075))
    dear, cheap = (policy.seconds(history(1000, 1e9 + side * distance)) for side in (1, -1))
    assert dear == pytest.approx(cheap, rel=1e-6)


def test_the_exponential_ends_at_the_cap_and_never_overflows() -> None:
    policy = paper(Paper(slope=0.25, intercept=0.0, base=1.0075))
    assert policy.seconds(history(10**9, 7e8)) == pytest.approx(2948 * FLOOR_SECONDS)
    assert policy.seconds(history(100, 25.0 + 100.0)) == pytest.approx(1.0075**100 * FLOOR_SECONDS)


def test_a_repeated_sample_changes_nothing() -> None:
    policy = paper(Paper(slope=0.25, intercept=0.0, base=1.0075))
    once = policy.evidence.after(history(100, 25.0), charge_of(policy, 2.9, "image"))
    again = policy.evidence.after(once, charge_of(policy, 2.9, "image"))
    assert again == once
    assert policy.seconds(again) == policy.seconds(once) > FLOOR_SECONDS
