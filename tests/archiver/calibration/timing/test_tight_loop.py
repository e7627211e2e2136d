"""Prices for a thief whose solver takes the digests of puzzles and nothing else."""

import pytest

from calpow.archiver.calibration.calibration_document import ThiefFigures
from calpow.archiver.calibration.timing.tight_loop import TightLoop
from calpow.handler.policy.solver_fit import SolverFit
from tests.support.calibrations import calibrated_policy

FIGURES = ThiefFigures(
    pure=2900.0,
    half=2800.0,
    fifth=900.0,
    twentieth=20.0,
    cheapest=2000.0,
    theft=30.0,
    fillers=9,
    five=60.0,
    free=1.0,
)


def test_a_loop_saves_nothing_where_stamps_start_in_no_time() -> None:
    loop = TightLoop.of(calibrated_policy(solver=SolverFit(0.0, 1e6), floor_seconds=0.001), 0.002)
    assert (loop.seconds, loop.share) == pytest.approx((0.001, 1.0))
    assert loop.theft(FIGURES) == pytest.approx(15.0)


def test_a_loop_saves_the_start_of_every_puzzle_of_the_cycle() -> None:
    loop = TightLoop(SolverFit(0.0008, 1e6), 0.001, 0.002)
    assert loop.share == pytest.approx(0.2)
    # Ten puzzles that take 30 ms in all, 8 ms of which are starts.
    assert loop.theft(FIGURES) == pytest.approx(11.0)


def test_the_best_cycle_of_a_loop_may_have_more_fillers() -> None:
    loop = TightLoop(SolverFit(0.001, 1e6), 0.001, 0.002)
    many = ThiefFigures(**{**FIGURES.__dict__, "twentieth": 1.6})
    # 20 puzzles of 1.6 floors each, a floor of which is the start.
    assert loop.theft(many) == pytest.approx(20 * 0.6 * 0.001 / 0.002)
