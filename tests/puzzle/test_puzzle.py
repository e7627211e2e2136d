"""Puzzles: what they may ask for. What their stamps must be is in test_conformance."""

import pytest

from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.puzzle import MAX_BITS, MAX_COUNT, Puzzle

RESOURCE = "5f0c0123456789abcdef0123456789ab"


def test_the_work_is_the_count_times_two_to_the_bits() -> None:
    assert Puzzle("hashcash-sha1", RESOURCE, bits=12, count=18).expected_hashes == 73_728


@pytest.mark.parametrize("bits", [-1, 0, MAX_BITS + 1, 10**30])
def test_bits_out_of_bounds_are_refused(bits: int) -> None:
    with pytest.raises(PuzzleError, match="bits"):
        Puzzle("hashcash-sha1", RESOURCE, bits=bits, count=1)


@pytest.mark.parametrize("count", [-1, 0, MAX_COUNT + 1, 10**30])
def test_a_count_out_of_bounds_is_refused(count: int) -> None:
    with pytest.raises(PuzzleError, match="stamps"):
        Puzzle("hashcash-sha1", RESOURCE, bits=12, count=count)


@pytest.mark.parametrize("resource", ["", "a:b", "a b", "a\n", "\u00e9", "x" * 129])
def test_a_resource_that_no_stamp_can_carry_is_refused(resource: str) -> None:
    with pytest.raises(PuzzleError, match="resource"):
        Puzzle("hashcash-sha1", resource, bits=12, count=1)
