"""Times of a machine that was busy, or that vary, come with a warning; others do not."""

import pytest

from calpow.archiver.calibration.timing.latency import Latency
from calpow.archiver.calibration.timing.machine_times import MachineTimes
from calpow.archiver.calibration.timing.solver_timing import FloorPuzzle
from calpow.handler.policy.policies import SolverFit


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
    times = MachineTimes(latency, 1.0, SolverFit(0.0, 1e6), FloorPuzzle(16.0, 1e-4), 1e-3, busy)
    assert len(times.warnings) == len(warnings)
    assert all(line.startswith(start) for line, start in zip(times.warnings, warnings, strict=True))
