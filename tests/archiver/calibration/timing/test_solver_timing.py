"""The reference client whose seconds work is calibrated in. What it takes is compared in tests/timing."""

import pytest

from calpow.archiver.calibration.timing.solver_timing import (
    ReferenceClient,
    measure_floor,
    measure_solver,
    reference_client,
)
from calpow.archiver.errors import TimingError
from calpow.handler.policy.policies import SolverFit
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import has_fast_engine
from calpow.puzzle.solving.solver import SolverRun
from tests.support.quick_timing import quick_timing


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


def test_the_fast_reference_client_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [PROFILES[name].kind for name in ("hashcash-sha1", "scrypt")]
    if has_fast_engine():
        assert [reference_client(kind, fast=True).engine.name for kind in kinds] == ["fast", "scrypt"]
    monkeypatch.setattr("calpow.puzzle.solving.engines.has_fast_engine", lambda: False)
    with pytest.raises(TimingError, match=r"pip install .*\[fast\]"):
        reference_client(kinds[0], fast=True)
    assert reference_client(kinds[1], fast=True).engine.name == "scrypt"
    assert reference_client(kinds[0], fast=False).engine.name == "python"
