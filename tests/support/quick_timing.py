"""Calibration with little timing, for tests of what is made of the times rather than of the times."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from calpow.archiver.calibration.timing import latency, solver_timing

REQUESTS = 20


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
