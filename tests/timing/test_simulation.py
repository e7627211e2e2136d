"""Bits that `calpow simulate` derives from seconds, with the reference client of this machine."""

import math

import pytest

from calpow.archiver.calibration.timing.solver_timing import measure_solver, reference_client
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES
from calpow.puzzle.solving.engines import has_fast_engine

pytestmark = pytest.mark.timing


def test_bits_are_linear_in_log_seconds() -> None:
    solver = measure_solver(reference_client(PROFILES[DEFAULT_PROFILE].kind, fast=has_fast_engine()))
    bits = [math.log2(solver.work(seconds)) for seconds in (0.1, 1.0, 10.0)]
    assert bits[1] - bits[0] == pytest.approx(bits[2] - bits[1], rel=0.02)
