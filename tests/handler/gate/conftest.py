"""Fixtures of the gate's tests."""

from pathlib import Path

import pytest

from calpow.handler.policy.solver_fit import SolverFit
from tests.support.gate_harness import GateHarness


@pytest.fixture
def harness(tmp_path: Path) -> GateHarness:
    return GateHarness(tmp_path / "ledger.db")


@pytest.fixture
def slow(tmp_path: Path) -> GateHarness:
    """A gate whose reference client makes 50 hashes a second: its challenges stay open for up to an hour."""
    return GateHarness(tmp_path / "slow.db", floor=20.0, solver=SolverFit(0.0, 50.0))
