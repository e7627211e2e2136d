"""Verifying costs the server hardly more than the digests that it must take."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.solving.solver import solve

pytestmark = pytest.mark.timing

SCRYPT = PROFILES["scrypt"].kind


def least_seconds(work: Callable[[], object]) -> float:
    """Return the least time of many runs: other load on the machine only ever adds."""

    def seconds() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return min(seconds() for _ in range(60))


def test_verifying_the_largest_count_of_the_scrypt_profile_takes_its_digests_and_little_else() -> None:
    puzzle = replace(SCRYPT.puzzle(64, "5f0c"), bits=1, count=SCRYPT.most_stamps)
    stamps, cost = solve(puzzle), SCRYPT.cost
    assert cost is not None

    def digests() -> None:
        for stamp in stamps:
            hashlib.scrypt(stamp.encode(), salt=b"calpow", n=cost.n, r=cost.r, p=cost.p, dklen=32)

    assert least_seconds(lambda: puzzle.verify(stamps)) < 1.3 * least_seconds(digests)


def test_a_scrypt_digest_costs_at_most_450_of_sha1() -> None:
    """A server that verifies 31 stamps in 5 ms chose the scrypt profile: its cost must not grow unnoticed."""
    stamp, cost = b"1:1:260115:5f0c:0:r:0", SCRYPT.cost
    assert cost is not None
    scrypt = least_seconds(lambda: [cost.digest(stamp) for _ in range(31)])
    sha1 = least_seconds(lambda: [hashlib.sha1(stamp).digest() for _ in range(31 * 450)])
    assert scrypt < sha1
