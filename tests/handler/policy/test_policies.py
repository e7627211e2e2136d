"""The policies by what accounts pay under them, and the reference client's solving times."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.handler.policy.calibrated_policy import CalibratedPolicy, PolicyName
from calpow.handler.policy.policies import Bounds, Paper, SolverFit, Standard
from tests.support.calibrations import CONDITIONAL, FLOOR_SECONDS, calibrated_policy, totals


def conditional(**changes: object) -> CalibratedPolicy:
    return calibrated_policy(conditional=CONDITIONAL, **changes)


def paper(rule: Paper, **changes: object) -> CalibratedPolicy:
    return calibrated_policy(name=PolicyName.paper, paper=rule, **changes)


def test_excess_is_the_cost_above_legitimate_queries_with_the_same_answer() -> None:
    assert CONDITIONAL.excess((1.5,), 0) == 0.5
    assert CONDITIONAL.excess((1.5,), 1) == -0.5
    assert CONDITIONAL.excess((3.0,), 1) == 1.0


def test_several_scores_count_alike_each_standardised_by_the_class_of_the_answer() -> None:
    first, second = Standard((1.0, 10.0), (1.0, 5.0)), Standard((0.0, 0.0), (0.1, 1.0))
    wide = dataclasses.replace(CONDITIONAL, class_floors=(-9.0, -9.0), class_means=(0.0, 0.5))
    rule = dataclasses.replace(wide, standards=(first, second))
    assert rule.excess((2.0, 0.2), 0) == pytest.approx((1 + 2) / 2)
    assert rule.excess((20.0, -1.0), 1) == pytest.approx((2 - 1) / 2 - 0.5)


def test_one_wild_cost_counts_no_more_than_three_deviations() -> None:
    assert CONDITIONAL.excess((3.0,), 0) == CONDITIONAL.excess((1e9,), 0)


def test_a_query_below_the_floor_of_its_class_earns_no_more_than_the_floor() -> None:
    rule = dataclasses.replace(CONDITIONAL, class_floors=(0.8, 0.8))
    assert [rule.excess((cost,), 0) for cost in (0.0, 0.8)] == pytest.approx([-0.2, -0.2])


@given(queries=st.integers(1, 10**9), excess=st.floats(-1e6, 0.0))
def test_whoever_costs_no_more_than_legitimate_users_pays_the_floor(queries: int, excess: float) -> None:
    assert conditional().seconds(totals(queries, excess=excess)) == pytest.approx(FLOOR_SECONDS)


def test_the_dearest_possible_first_query_pays_the_floor() -> None:
    assert conditional().seconds(totals(1, excess=CONDITIONAL.burst)) == pytest.approx(FLOOR_SECONDS)


def test_a_thief_pays_a_hundredfold_after_dozens_of_queries_and_the_cap_after_hundreds() -> None:
    # 50 teachers, queries on which none agree: 1.7 above their classes.
    assert conditional().seconds(totals(40, excess=1.7 * 40)) > 100 * FLOOR_SECONDS
    assert conditional().seconds(totals(400, excess=1.7 * 400)) == pytest.approx(2948 * FLOOR_SECONDS)


def test_deviations_above_the_threshold_multiply_as_stated() -> None:
    n = 100
    scale = math.sqrt(2.5**2 + 0.8**2 * n + 0.25**2 * n**2)
    assert conditional().seconds(totals(n, excess=3.5 * scale)) == pytest.approx(100 * FLOOR_SECONDS, rel=1e-5)


@given(queries=st.integers(1, 10**6), low=st.floats(-10, 10), high=st.floats(-10, 10))
def test_more_excess_never_pays_less(queries: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    less, more = (conditional().seconds(totals(queries, excess=excess * queries)) for excess in (low, high))
    assert FLOOR_SECONDS * 0.999999 <= less <= more <= 2948.001 * FLOOR_SECONDS


@given(cost=st.floats(-1.0, 1.0), queries=st.integers(0, 10**6))
def test_whoever_stays_between_the_bounds_pays_the_floor(cost: float, queries: int) -> None:
    policy = calibrated_policy(name=PolicyName.bounds, bounds=Bounds(0.5, -1.0, 1.5, 1.0, 1.0075))
    inside = (1.0 + 0.499 * cost) * queries + 0.99 * cost
    assert policy.seconds(totals(queries, cost=inside)) == pytest.approx(FLOOR_SECONDS)


def test_whoever_leaves_the_bounds_pays_for_the_distance_on_either_side() -> None:
    policy = calibrated_policy(name=PolicyName.bounds, bounds=Bounds(0.5, -1.0, 1.5, 1.0, 1.0075))
    for cost in (150.0 + 1.0 + 100.0, 50.0 - 1.0 - 100.0):
        assert policy.seconds(totals(100, cost=cost)) == pytest.approx(1.0075**100 * FLOOR_SECONDS, rel=1e-5)


@given(distance=st.floats(0, 1e9))
def test_the_paper_punishes_distance_on_both_sides_alike(distance: float) -> None:
    policy = paper(Paper(slope=1e6, intercept=0.0, base=1.0075))
    dear, cheap = (policy.seconds(totals(1000, cost=1e9 + side * distance)) for side in (1, -1))
    assert dear == pytest.approx(cheap, rel=1e-6)


def test_the_papers_exponential_ends_at_the_cap_and_never_overflows() -> None:
    policy = paper(Paper(slope=0.25, intercept=0.0, base=1.0075))
    assert policy.seconds(totals(10**9, cost=7e8)) == pytest.approx(2948 * FLOOR_SECONDS)
    assert policy.seconds(totals(100, cost=25.0 + 100.0)) == pytest.approx(1.0075**100 * FLOOR_SECONDS)


@given(seconds=st.floats(1e-5, 1e5))
def test_the_solvers_line_runs_both_ways(seconds: float) -> None:
    solver = SolverFit(9e-6, 3e7)
    assert solver.seconds(solver.work(seconds)) == pytest.approx(seconds)
    assert solver.work(2 * seconds) - solver.work(seconds) == pytest.approx(3e7 * seconds)


def test_less_time_than_a_puzzle_s_start_is_the_least_work() -> None:
    solver = SolverFit(0.001, 3e7)
    assert solver.work(0.0005) == solver.work(0.001) == 1.0
