"""Measurement of solvers: programs that do not do what they should are named."""

import pytest

from calpow.client.cli.solver_speed import hashcash_rate
from calpow.client.errors import MeasurementFailed


def test_a_program_that_mints_nothing_is_named() -> None:
    with pytest.raises(MeasurementFailed, match=r"\A/bin/true does not say how many tries it made.*\Z"):
        hashcash_rate("/bin/true")
