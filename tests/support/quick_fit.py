"""Calibration with short simulations, for tests of what is made of a fitted policy rather than of the fit."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from calpow.archiver.calibration import rehearsal
from calpow.archiver.calibration.policy_fit import affordability, evidence_fit, refinement, thieves

QUERIES = 200


@contextmanager
def quick_fit() -> Iterator[None]:
    """Simulate few and short-lived users and thieves until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (affordability, evidence_fit, refinement, thieves, rehearsal):
            patch.setattr(module, "QUERIES", QUERIES)
        patch.setattr(rehearsal, "PAST", QUERIES)
        patch.setattr(rehearsal, "USERS", 20)
        patch.setattr(rehearsal, "LONGEST", 1_000)
        yield
