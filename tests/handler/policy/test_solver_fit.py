"""Solving times of the reference client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.handler.policy.solver_fit import SolverFit


@given(seconds=st.floats(1e-5, 1e5))
def test_the_solvers_line_runs_both_ways(seconds: float) -> None:
    solver = SolverFit(9e-6, 3e7)
    assert solver.seconds(solver.work(seconds)) == pytest.approx(seconds)
    assert solver.work(2 * seconds) - solver.work(seconds) == pytest.approx(3e7 * seconds)


def test_less_time_than_a_puzzle_s_start_is_the_least_work() -> None:
    solver = SolverFit(0.001, 3e7)
    assert solver.work(0.0005) == solver.work(0.001) == 1.0


def test_digests_are_all_of_a_puzzles_time_but_its_start() -> None:
    solver = SolverFit(0.001, 3e7)
    assert solver.digest_seconds(0.004) == pytest.approx(0.003)
    # One digest at least.
    assert solver.digest_seconds(0.0005) == pytest.approx(1 / 3e7)
