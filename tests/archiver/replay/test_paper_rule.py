"""The paper's rule: puzzles between the shortest and the longest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.archiver.replay.paper_rule import fit_bounds, fit_rule, replay
from calpow.archiver.replay.traces import AttackStep, BaselinePoint


@given(
    cost=st.floats(-1e6, 1e6),
    base=st.floats(1.0, 10.0),
    least=st.floats(1e-3, 1.0),
    longest=st.floats(1.0, 1e6),
)
def test_puzzles_stay_within_their_bounds(cost: float, base: float, least: float, longest: float) -> None:
    rule = fit_rule([BaselinePoint(0, 3), BaselinePoint(1000, 250)], base, least, longest)
    for paid in replay(rule, [AttackStep(0, 0, 0.2, 10), AttackStep(1000, cost, 7, 80)]):
        assert least <= paid.puzzle <= longest * (1 + 1e-9)


def test_the_longest_puzzle_is_what_a_distant_attack_pays() -> None:
    rule = fit_rule([BaselinePoint(0, 0), BaselinePoint(1000, 250)], 1.0075, 0.1, 2948.0)
    assert replay(rule, [AttackStep(0, 0, 0, 10), AttackStep(1000, 1e9, 7, 80)])[-1].puzzle == pytest.approx(2948.0)


def test_between_the_bounds_an_attack_pays_the_least_and_beyond_them_by_its_distance() -> None:
    cheapest, dearest = ([BaselinePoint(0, 0), BaselinePoint(1000, cost)] for cost in (200, 300))
    rule = fit_bounds(cheapest, dearest, 1.01, 0.1, 2948.0)

    def puzzle(cost: float) -> float:
        return replay(rule, [AttackStep(0, 0, 0, 10), AttackStep(1000, cost, 7, 80)])[-1].puzzle

    assert [puzzle(cost) for cost in (200, 250, 300)] == pytest.approx([1, 1, 1])
    assert puzzle(400) == pytest.approx(1.01**100)
    assert puzzle(150) == pytest.approx(1.01**50)
