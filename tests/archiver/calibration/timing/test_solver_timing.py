"""The reference client whose seconds work is calibrated in. What it takes is compared in tests/timing."""

from dataclasses import dataclass

import pytest

from calpow.archiver.calibration.timing import solver_timing
from calpow.archiver.calibration.timing.solver_timing import (
    FLOOR_AIM,
    ReferenceClient,
    mean_solving_seconds,
    measure_floor,
    measure_solver,
    reference_client,
)
from calpow.archiver.errors import TimingError
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import has_fast_engine
from calpow.puzzle.solving.solver import SolverRun
from tests.support.quick_timing import quick_timing

START, PACE = 50e-6, 4e6
# As it is fitted, to puzzles of 16 stamps.
STEADY = SolverFit(16 * START, PACE)


class Clock:
    """A clock that its users set."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class BusyClient(ReferenceClient):
    """A client on a machine whose other load makes small puzzles take longer than large ones."""

    def solve(self, puzzle: Puzzle) -> SolverRun:
        return SolverRun([], int(puzzle.expected_hashes), 0.1 / puzzle.bits)


def test_where_other_load_hides_the_pace_it_is_the_mean() -> None:
    client = reference_client(PROFILES["hashcash-sha1"].kind, fast=False)
    solver = measure_solver(BusyClient(client.kind, client.engine))
    assert solver.start_seconds == 0.0
    assert 16 * 2 / 0.1 <= solver.hashes_per_second <= 16 * 8 / (0.1 / 3)


def test_where_the_least_puzzle_takes_longer_than_is_left_it_is_the_floor() -> None:
    hard = reference_client(PROFILES["scrypt-hard"].kind, fast=False)
    with quick_timing():
        floor = measure_floor(hard, 1e-9, SolverFit(0.0, 400.0))
    assert floor.work == hard.kind.puzzle(0.0, "floor").expected_hashes
    assert floor.seconds > 1e-9


@dataclass(frozen=True)
class SteadyClient(ReferenceClient):
    """A client that takes 50 microseconds to begin a stamp and a quarter of a microsecond for a hash, on its clock."""

    clock: Clock

    def solve(self, puzzle: Puzzle) -> SolverRun:
        seconds = puzzle.count * START + puzzle.expected_hashes / PACE
        self.clock.now += seconds
        return SolverRun([], puzzle.expected_hashes, seconds)


@dataclass(frozen=True)
class LuckyClient(SteadyClient):
    """A steady client that finds every stamp after half the expected number of hashes, without a start."""

    def solve(self, puzzle: Puzzle) -> SolverRun:
        digests = puzzle.expected_hashes // 2
        self.clock.now += digests / PACE
        return SolverRun([], digests, digests / PACE)


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> SteadyClient:
    """A steady client whose clock is the one that its puzzles are timed by."""
    clock = Clock()
    monkeypatch.setattr(solver_timing, "time", clock)
    plain = reference_client(PROFILES["hashcash-sha1"].kind, fast=False)
    return SteadyClient(plain.kind, plain.engine, clock)


def test_the_fit_tells_starts_from_digests(steady: ReferenceClient) -> None:
    solver = measure_solver(steady)
    assert solver.start_seconds == pytest.approx(16 * START)
    assert solver.hashes_per_second == pytest.approx(PACE)


def test_a_stamp_takes_four_times_its_start_in_digests_or_more(steady: ReferenceClient) -> None:
    kind = steady.saving_starts(STEADY).kind
    assert 2**kind.least_bits / PACE >= 4 * START > 2 ** (kind.least_bits - 1) / PACE
    assert steady.saving_starts(SolverFit(0.0, PACE)).kind == steady.kind
    hard = reference_client(PROFILES["scrypt"].kind, fast=False)
    assert hard.saving_starts(SolverFit(16 * 1e-5, 2e4)).kind == hard.kind


def test_luck_does_not_shorten_the_mean_time_of_a_puzzle(steady: SteadyClient) -> None:
    lucky = LuckyClient(steady.kind, steady.engine, steady.clock)
    work = float(lucky.kind.puzzle(2.0**15, "floor").expected_hashes)
    assert mean_solving_seconds(lucky, work) == pytest.approx(work / PACE)


@pytest.mark.parametrize("seconds", [0.0005, 0.0006, 0.0012, 0.004, 0.01, 0.3])
def test_the_floor_is_the_largest_within_the_time_and_most_of_it_is_digests(
    steady: ReferenceClient, seconds: float
) -> None:
    saving = steady.saving_starts(STEADY)
    floor = measure_floor(saving, seconds, STEADY)
    puzzle = saving.kind.puzzle(floor.work, "floor")
    larger = saving.kind.puzzle(floor.work + 0.6 * 2**puzzle.bits, "floor")
    assert puzzle.expected_hashes == floor.work
    assert 4 <= puzzle.count <= 31
    assert floor.seconds <= seconds
    assert larger.count * START + larger.expected_hashes / PACE > FLOOR_AIM * seconds
    assert floor.on(STEADY).digest_seconds(floor.seconds) > floor.seconds / 2


def test_the_floor_takes_most_of_the_time_also_where_the_fit_is_wrong(steady: ReferenceClient) -> None:
    saving = steady.saving_starts(STEADY)
    fits = [
        SolverFit(start * STEADY.start_seconds, pace * PACE) for start in (0.0, 0.3, 3.0) for pace in (0.3, 1.0, 3.0)
    ]
    floors = [measure_floor(saving, 0.004, fit).seconds for fit in fits]
    assert 0.8 * 0.004 <= min(floors) <= max(floors) <= 0.004


def test_a_floor_that_four_stamps_hardly_fit_into_is_mostly_starts(steady: ReferenceClient) -> None:
    saving = steady.saving_starts(STEADY)
    floor = measure_floor(saving, 5 * START, STEADY)
    assert saving.kind.puzzle(floor.work, "floor").count == 4
    assert floor.on(STEADY).digest_seconds(floor.seconds) < floor.seconds / 2
    assert measure_floor(saving, 0.0, STEADY).work == 2


def test_the_fast_reference_client_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [PROFILES[name].kind for name in ("hashcash-sha1", "scrypt")]
    if has_fast_engine():
        assert [reference_client(kind, fast=True).engine.name for kind in kinds] == ["fast", "scrypt"]
    monkeypatch.setattr("calpow.puzzle.solving.engines.has_fast_engine", lambda: False)
    with pytest.raises(TimingError, match=r"pip install .*\[fast\]"):
        reference_client(kinds[0], fast=True)
    assert reference_client(kinds[1], fast=True).engine.name == "scrypt"
    assert reference_client(kinds[0], fast=False).engine.name == "python"
