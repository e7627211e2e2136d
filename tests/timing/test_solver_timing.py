"""The measured solver predicts solving times, and the measured floor takes the time wanted, within one run."""

import pytest

from calpow.archiver.calibration.timing.solver_timing import (
    mean_solving_seconds,
    measure_floor,
    measure_solver,
    reference_client,
)
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.solving.engines import has_fast_engine

pytestmark = pytest.mark.timing

CLIENT = reference_client(PROFILES["hashcash-sha1"].kind, fast=False)


def test_the_solvers_line_predicts_solving_times() -> None:
    solver = measure_solver(CLIENT)
    # The start of a solving is less than a digest's time for a thousand digests.
    assert 0 <= solver.start_seconds < 1_000 / solver.hashes_per_second
    for work in (2.0**12, 2.0**15, 2.0**18):
        assert mean_solving_seconds(CLIENT, work) == pytest.approx(solver.seconds(work), rel=0.8)


@pytest.mark.skipif(not has_fast_engine(), reason="calpow[fast] is not installed")
def test_the_fast_client_gets_no_discount_between_the_floor_and_a_second() -> None:
    fast = reference_client(CLIENT.kind, fast=True)
    fitted = measure_solver(fast)
    floor = measure_floor(fast, 0.001, fitted)
    solver = floor.on(fitted)
    assert solver.work(floor.seconds) == pytest.approx(floor.work)
    for multiple in (10, 50, 200):
        seconds = mean_solving_seconds(fast, solver.work(multiple * floor.seconds))
        # Room for other load on the machine; bits that were linear in log seconds gave a fifth and less.
        assert 0.4 < seconds / (multiple * floor.seconds) < 2.5


@pytest.mark.skipif(not has_fast_engine(), reason="calpow[fast] is not installed")
def test_a_floor_of_a_millisecond_is_mostly_digests_for_the_fast_client() -> None:
    fast = reference_client(CLIENT.kind, fast=True)
    fitted = measure_solver(fast)
    saving = fast.saving_starts(fitted)
    # Beside other load, starts take longer; four of them still leave a millisecond to digests.
    floor = measure_floor(saving, 0.001, fitted)
    assert saving.kind.puzzle(floor.work, "floor").count <= 31
    assert floor.on(fitted).digest_seconds(floor.seconds) > floor.seconds / 2


def test_the_floors_puzzle_takes_the_seconds_wanted_whatever_the_line_says() -> None:
    wrong = SolverFit(0.0, 1e5)
    floor = measure_floor(CLIENT, 0.002, wrong)
    assert floor.seconds == pytest.approx(0.002, rel=0.5)
    assert mean_solving_seconds(CLIENT, floor.work) == pytest.approx(floor.seconds, rel=0.5)


@pytest.mark.skipif(not has_fast_engine(), reason="calpow[fast] is not installed")
def test_engines_differ_in_speed_as_their_digests_do() -> None:
    """The fast solver hashes several stamps at once; scrypt is thousands of times dearer than SHA-1."""
    rates = [
        measure_solver(reference_client(PROFILES[name].kind, fast=fast)).hashes_per_second
        for name, fast in (("hashcash-sha1", True), ("hashcash-sha1", False), ("scrypt", False))
    ]
    assert rates[0] > 2 * rates[1]
    assert rates[1] > 100 * rates[2]
