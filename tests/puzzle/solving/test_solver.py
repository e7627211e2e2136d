"""The solver: right stamps on any number of cores, and no longer than the caller wants."""

import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.errors import SolvingCancelled, SolvingTooLong, TooMuchWork
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import MEMORY_HARD, PYTHON, Engine, engines_for
from calpow.puzzle.solving.miners import Miner, ScryptMiner, Slice
from calpow.puzzle.solving.solver import Progress, run_solver, solve
from calpow.puzzle.stamp import Stamp
from tests.support.solving import (
    ENDLESS,
    RESOURCE,
    both_hash_engines,
    every_engine,
    every_way,
    interrupt,
    miner_processes,
    start_program,
)


@both_hash_engines
@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["hashcash-sha1", "hashcash-sha256"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=128),
    st.integers(1, 7),
    st.integers(1, 31),
)
def test_the_stamps_are_accepted(engine: Engine, algorithm: str, resource: str, bits: int, count: int) -> None:
    puzzle = Puzzle(algorithm, resource, bits, count)
    stamps = run_solver(puzzle, engine).stamps
    puzzle.verify(stamps)
    assert [stamp.split(":")[4] for stamp in stamps] == [str(ext) for ext in range(count)]


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_solved_on_one_core_and_on_several(name: str) -> None:
    puzzle = PROFILES[name].kind.puzzle(32, RESOURCE)
    for engine in engines_for(puzzle.algorithm):
        for workers in (1, 2, 3):
            run = run_solver(puzzle, engine, workers=workers)
            puzzle.verify(run.stamps)
            assert run.digests >= puzzle.count
            assert run.seconds > 0


@both_hash_engines
def test_two_solutions_of_one_puzzle_have_no_stamp_in_common(engine: Engine) -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=1, count=16)
    assert set(run_solver(puzzle, engine).stamps).isdisjoint(run_solver(puzzle, engine).stamps)


def test_a_stamp_is_dated_to_the_second() -> None:
    before = time.strftime("%y%m%d%H%M%S", time.gmtime())
    (stamp,) = solve(Puzzle("hashcash-sha1", RESOURCE, bits=1, count=1))
    assert before <= Stamp.parse(stamp).date <= time.strftime("%y%m%d%H%M%S", time.gmtime())


@pytest.mark.parametrize("name", PROFILES)
def test_a_stamp_has_another_date_if_one_is_given(name: str) -> None:
    puzzle = PROFILES[name].kind.puzzle(4, RESOURCE)
    for stamp in solve(puzzle, date=datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)):
        assert Stamp.parse(stamp).date == "310203040506"


# Progress


def test_progress_is_reported_before_the_first_stamp_and_after_each() -> None:
    reports: list[tuple[int, int]] = []
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=1, count=3)
    solve(puzzle, progress=lambda progress: reports.append((progress.found, progress.count)))
    assert reports == [(0, 3), (1, 3), (2, 3), (3, 3)]


@both_hash_engines
def test_progress_estimates_the_time_left_from_the_first_digest_on(engine: Engine) -> None:
    reports: list[Progress] = []
    run_solver(Puzzle("hashcash-sha1", RESOURCE, bits=4, count=31), engine, workers=1, progress=reports.append)
    assert reports[0].seconds_left is None
    assert all(progress.seconds_left for progress in reports[1:-1])
    assert reports[-1].seconds_left == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_of_the_progress_callback_ends_the_work(workers: int) -> None:
    def stop(progress: Progress) -> None:
        if progress.found >= 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        run_solver(Puzzle("hashcash-sha1", RESOURCE, bits=8, count=31), PYTHON, workers=workers, progress=stop)
    assert miner_processes() == []


# Limits; how soon they take effect is tested in tests/timing


@every_way
def test_the_work_can_be_cancelled_and_leaves_nothing_behind(puzzle: Puzzle, engine: Engine, workers: int) -> None:
    before = threading.enumerate()
    cancel = threading.Event()
    timer = threading.Timer(0.1, cancel.set)
    timer.start()
    with pytest.raises(SolvingCancelled):
        run_solver(puzzle, engine, workers=workers, cancel=cancel)
    assert miner_processes() == []
    assert set(threading.enumerate()) <= {*before, timer}
    timer.join()


def test_nothing_is_solved_if_the_caller_has_cancelled_before() -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(SolvingCancelled):
        solve(ENDLESS, cancel=cancel)


@every_way
def test_a_puzzle_without_a_chance_within_the_limit_is_given_up(
    puzzle: Puzzle, engine: Engine, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calpow.puzzle.solving.solver.SPEED_ESTIMATE_SECONDS", 0.1)
    with pytest.raises(SolvingTooLong, match=r"more than the 30\.0 s allowed") as caught:
        run_solver(puzzle, engine, workers=workers, max_seconds=30)
    assert caught.value.expected_seconds > 60
    assert caught.value.limit == 30
    assert miner_processes() == []


def test_the_limit_on_seconds_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calpow.puzzle.solving.solver.GIVE_UP_FACTOR", float("inf"))
    with pytest.raises(SolvingTooLong):
        run_solver(ENDLESS, PYTHON, workers=1, max_seconds=0.1)


def test_more_work_than_allowed_is_refused_before_any_is_done() -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=8, count=16)
    reports: list[Progress] = []
    with pytest.raises(TooMuchWork, match=r"about 4,096 hashes, more than the limit of 4,095"):
        solve(puzzle, max_hashes=4095, progress=reports.append)
    assert reports == []
    puzzle.verify(solve(puzzle, max_hashes=4096))


def test_a_puzzle_that_fits_into_the_limit_is_solved() -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=8, count=16)
    puzzle.verify(solve(puzzle, max_seconds=60))


@every_engine
def test_ctrl_c_ends_the_work_and_leaves_no_process(name: str, tmp_path: Path) -> None:
    interruption = interrupt(start_program(name, tmp_path))
    assert interruption.outcome == ("interrupted\n", "", 0)
    assert not any(miner.is_running() for miner in interruption.miners)


@pytest.mark.slow
def test_miners_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with start_program("PYTHON", tmp_path) as process:
        miners = miner_processes(process.pid)
        assert len(miners) == 2
        process.kill()
    _, alive = psutil.wait_procs(miners, timeout=10)
    assert alive == []


# Helpers


def test_helpers_that_cannot_be_started_make_it_slower_and_no_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=8, count=16)
    for executable in ("/nonexistent", "/bin/false", ""):
        monkeypatch.setattr(sys, "executable", executable)
        puzzle.verify(run_solver(puzzle, PYTHON, workers=3).stamps)
        assert miner_processes() == []


def test_threads_that_cannot_be_started_make_it_slower_and_no_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for engine, cost in ((PYTHON, None), (MEMORY_HARD, ScryptCost(2, 1, 1))):
        puzzle = Puzzle("hashcash-sha1" if cost is None else "scrypt", RESOURCE, bits=4, count=4, cost=cost)
        puzzle.verify(run_solver(puzzle, engine, workers=3).stamps)
        assert miner_processes() == []


class IdleMiner:
    """A miner that finds nothing: all stamps are found by the others."""

    def mine(self, ext: int, seconds: float) -> Slice:
        time.sleep(seconds)
        return Slice(None, 0)


def test_processes_do_their_share() -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=8, count=16)
    engine = Engine("idle", lambda puzzle, date: IdleMiner(), uses_processes=True, min_shared_work=0)
    puzzle.verify(run_solver(puzzle, engine, workers=3).stamps)


def test_threads_do_their_share() -> None:
    puzzle = Puzzle("scrypt", RESOURCE, bits=3, count=16, cost=ScryptCost(64, 8, 1))
    created: list[Puzzle] = []

    def create_miner(puzzle: Puzzle, date: str) -> Miner:
        created.append(puzzle)
        return IdleMiner() if len(created) == 1 else ScryptMiner(puzzle, date)

    engine = Engine("idle", create_miner, uses_processes=False, min_shared_work=0)
    puzzle.verify(run_solver(puzzle, engine, workers=3).stamps)
    assert len(created) == 3


# Several solvers


@pytest.mark.parametrize("name", PROFILES)
def test_threads_can_solve_at_the_same_time(name: str) -> None:
    puzzles = [PROFILES[name].kind.puzzle(24, f"{RESOURCE}{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        solutions = threads.map(lambda puzzle: solve(puzzle, workers=2), puzzles)
        for puzzle, stamps in zip(puzzles, solutions, strict=True):
            puzzle.verify(stamps)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this machine has no fork")
@pytest.mark.parametrize("name", PROFILES)
def test_a_forked_process_can_solve_whatever_its_parent_was_doing(name: str) -> None:
    puzzle = PROFILES[name].kind.puzzle(24, RESOURCE)
    engine = engines_for(puzzle.algorithm)[-1]
    run_solver(puzzle, engine)
    stop = threading.Event()
    busy = threading.Thread(target=solve_until, args=(puzzle, engine, stop))
    busy.start()
    child = multiprocessing.get_context("fork").Process(target=solve_once, args=(puzzle, engine))
    child.start()
    child.join(30)
    stop.set()
    busy.join()
    assert child.exitcode == 0


def solve_until(puzzle: Puzzle, engine: Engine, stop: threading.Event) -> None:
    while not stop.is_set():
        run_solver(puzzle, engine, workers=2)


def solve_once(puzzle: Puzzle, engine: Engine) -> None:
    puzzle.verify(run_solver(puzzle, engine, workers=2).stamps)
