"""Calibration with little timing, for tests of what is made of the times rather than of the times."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from calpow.archiver.calibration.timing import latency, solver_timing
from calpow.archiver.calibration.timing.latency import Latency

REQUESTS = 20
KNOWN = Latency(median=0.004, low=0.003, high=0.005, requests=20, added=0.001)


@dataclass(frozen=True)
class Untimed:
    """A victim that need not be timed, of a latency that is known."""

    latency: Latency = KNOWN

    def measure(self, *_: object) -> Latency:
        """Return the latency."""
        return self.latency


@contextmanager
def quick_timing() -> Iterator[None]:
    """Time the victim with a few requests and the solver with small puzzles until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "REQUESTS", REQUESTS)
        patch.setattr(latency, "MOST_ROUNDS", 1)
        patch.setattr(latency, "WARM_UP_SECONDS", 0.3)
        patch.setattr(solver_timing, "PROBE_SECONDS", 0.01)
        patch.setattr(solver_timing, "LONGEST_SECONDS", 0.05)
        patch.setattr(solver_timing, "FLOOR_SECONDS", 0.3)
        yield
