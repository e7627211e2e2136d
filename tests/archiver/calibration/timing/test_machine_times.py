"""Times of one machine: what they leave for the floor, and warnings of a busy machine or of times that vary."""

import pytest

from calpow.archiver.calibration.timing.latency import Latency
from calpow.archiver.calibration.timing.machine_times import MachineTimes, largest_solving_seconds
from calpow.archiver.calibration.timing.solver_timing import FloorPuzzle
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.profiles import PROFILES

KIND = PROFILES["hashcash-sha1"].kind


@pytest.mark.parametrize(
    ("busy", "uncertainty", "warnings"),
    [
        (0.02, 0.03, []),
        (0.6, 0.03, ["Other programs used 60% of this machine's cores: leave it idle and calibrate again, or"]),
        (0.02, 0.12, ["Latency is known to 12% only, after 1,000 requests: leave the machine idle"]),
    ],
)
def test_uncertain_times_are_warned_of(busy: float, uncertainty: float, warnings: list[str]) -> None:
    latency = Latency(0.001, 0.001, 0.002, 1_000, 0.001, uncertainty)
    times = MachineTimes(latency, 1.0, KIND, SolverFit(0.0, 1e6), FloorPuzzle(16.0, 1e-4), 1e-3, busy)
    assert len(times.warnings) == len(warnings)
    assert all(line.startswith(start) for line, start in zip(times.warnings, warnings, strict=True))


@pytest.mark.parametrize(
    ("added", "budget", "left"),
    [(0.0, 2.0, 0.010), (0.004, 2.0, 0.006), (0.004, 3.0, 0.016), (0.010, 2.0, 0.0), (0.025, 2.0, 0.0)],
)
def test_solving_gets_what_the_gate_leaves_of_the_budget_and_no_more(added: float, budget: float, left: float) -> None:
    latency = Latency(0.010, 0.009, 0.011, 100, added)
    assert largest_solving_seconds(latency, budget) == pytest.approx(left)


def test_the_floors_share_is_of_the_time_of_one_sample() -> None:
    times = MachineTimes(
        Latency(0.010, 0.009, 0.011, 100, 0.0), 5.0, KIND, SolverFit(0.0, 1e6), FloorPuzzle(500.0, 5e-4), 1e-3
    )
    assert times.of_query.latency == pytest.approx(0.002)
    assert times.floor_share == pytest.approx(0.25)
