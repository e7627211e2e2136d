"""Our solvers are nearly as fast as the libraries they call, and faster than the program they compete with."""

import shutil
from collections.abc import Callable
from functools import partial

import pytest

from benchmarks.mint import mint_rates
from calpow.puzzle.solving.engines import FAST, MEMORY_HARD, PYTHON, has_fast_engine

pytestmark = pytest.mark.timing


def best_ratio(one: Callable[[], float], other: Callable[[], float], rounds: int = 25) -> float:
    """Return the best rate of `one` over the best of `other`, in turns: other load only makes rates smaller.

    Both must take about as long: the shorter of two finds a quiet moment of the machine more easily.
    """
    pairs = [(one(), other()) for _ in range(rounds)]
    return max(rate for rate, _ in pairs) / max(rate for _, rate in pairs)


@pytest.mark.parametrize("algorithm", [mint_rates.SHA1, mint_rates.SHA256])
def test_our_client_mints_nearly_as_fast_as_hashlib_lets_it(algorithm: str) -> None:
    ours = partial(mint_rates.solver_rate, PYTHON, algorithm, seconds=0.05)
    assert best_ratio(ours, partial(mint_rates.bare_rate, 16 << 13, algorithm)) > 0.9


def test_scrypt_is_minted_nearly_as_fast_as_hashlib_lets_it() -> None:
    ours = partial(mint_rates.solver_rate, MEMORY_HARD, mint_rates.SCRYPT, seconds=0.05)
    assert best_ratio(ours, partial(mint_rates.bare_scrypt_rate, 0.05)) > 0.9


@pytest.mark.skipif(not has_fast_engine(), reason="calpow[fast] is not installed")
@pytest.mark.skipif(shutil.which("hashcash") is None, reason="Debian's hashcash is not installed")
def test_the_fast_solver_leaves_the_c_program_behind() -> None:
    ours = partial(mint_rates.solver_rate, FAST, mint_rates.SHA1, seconds=0.05)
    ours()  # compiles
    assert best_ratio(ours, partial(mint_rates.hashcash_rate, "hashcash"), rounds=5) > 1
