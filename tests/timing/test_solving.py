"""The solver starts, notices its limits and ends soon, and estimates the time left."""

import threading
import time
from pathlib import Path

import pytest

from calpow.puzzle.errors import SolvingCancelled, SolvingTooLong
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import PYTHON, Engine
from calpow.puzzle.solving.solver import Progress, run_solver, solve
from tests.support.solving import RESOURCE, both_hash_engines, every_engine, every_way, interrupt, start_program

pytestmark = pytest.mark.timing


def test_a_small_puzzle_starts_well_under_a_millisecond() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        solve(Puzzle("hashcash-sha1", RESOURCE, bits=1, count=1))
        return time.perf_counter() - start

    assert min(seconds() for _ in range(50)) < 0.0005


@both_hash_engines
def test_progress_estimates_the_time_that_is_left(engine: Engine) -> None:
    reports: list[Progress] = []
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=14 if engine is PYTHON else 18, count=31)
    run = run_solver(puzzle, engine, workers=1, progress=reports.append)
    half = reports[len(reports) // 2]
    assert half.seconds_left is not None
    # 15 stamps are left: within a factor of 4, also on a machine that others slow down meanwhile.
    assert (run.seconds - half.seconds) / 4 < half.seconds_left < (run.seconds - half.seconds) * 4


@every_way
def test_the_work_is_cancelled_at_once(puzzle: Puzzle, engine: Engine, workers: int) -> None:
    cancel, cancelled_at = threading.Event(), list[float]()

    def stop() -> None:
        cancelled_at.append(time.monotonic())
        cancel.set()

    timer = threading.Timer(0.3, stop)
    timer.start()
    with pytest.raises(SolvingCancelled):
        run_solver(puzzle, engine, workers=workers, cancel=cancel)
    assert time.monotonic() - cancelled_at[0] < 0.25
    timer.join()


@every_way
def test_a_puzzle_without_a_chance_within_the_limit_is_given_up_early(
    puzzle: Puzzle, engine: Engine, workers: int
) -> None:
    start = time.monotonic()
    with pytest.raises(SolvingTooLong):
        run_solver(puzzle, engine, workers=workers, max_seconds=30)
    assert time.monotonic() - start < 5


def test_the_limit_on_seconds_is_kept() -> None:
    # About 4 million hashes: a second or more with this engine, and not hopeless within 0.6.
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=18, count=16)
    start = time.monotonic()
    with pytest.raises(SolvingTooLong):
        run_solver(puzzle, PYTHON, workers=1, max_seconds=0.1)
    assert time.monotonic() - start < 1


@every_engine
def test_ctrl_c_is_noticed_soon(name: str, tmp_path: Path) -> None:
    assert interrupt(start_program(name, tmp_path)).seconds < 2
