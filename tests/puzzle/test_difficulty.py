"""From wanted work to a puzzle's size: near, in small steps, and never out of bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.puzzle.difficulty import puzzle_size
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.puzzle import MAX_BITS, Puzzle

LARGEST = 31 * 2**MAX_BITS


def hashes(work: float) -> int:
    bits, count = puzzle_size(work)
    return Puzzle("hashcash-sha1", "5f0c", bits, count).expected_hashes


@pytest.mark.parametrize(
    ("work", "size"),
    [
        (0, (1, 1)),
        (1e-9, (1, 1)),
        (2, (1, 1)),
        (4, (1, 2)),
        (30, (1, 15)),
        (32, (1, 16)),
        (62, (1, 31)),
        (64, (2, 16)),
        (73_728, (12, 18)),
        (2**20, (16, 16)),
        (2**20 - 1, (16, 16)),  # nearer than 31 stamps of 15 bits
        (LARGEST, (MAX_BITS, 31)),
        (LARGEST + 1, (MAX_BITS, 31)),
        (float("inf"), (MAX_BITS, 31)),
    ],
)
def test_known_sizes(work: float, size: tuple[int, int]) -> None:
    assert puzzle_size(work) == size


@given(st.floats(min_value=32, max_value=LARGEST))
def test_work_is_met_within_half_a_step_of_a_sixteenth(work: float) -> None:
    bits, count = puzzle_size(work)
    assert 16 <= count <= 31
    assert abs((count << bits) - work) <= 2**bits / 2
    assert abs((count << bits) - work) <= work / 32


@given(st.floats(min_value=0, max_value=32))
def test_little_work_is_met_within_a_hash(work: float) -> None:
    assert abs(hashes(work) - max(work, 2)) <= 1


@given(st.floats(min_value=0), st.floats(min_value=0))
def test_more_work_never_gets_a_smaller_puzzle(one: float, other: float) -> None:
    assert (hashes(one) <= hashes(other)) if one <= other else (hashes(one) >= hashes(other))


@pytest.mark.parametrize("work", [-1.0, -1e-300, float("-inf"), float("nan")])
def test_work_that_is_no_work_is_refused(work: float) -> None:
    with pytest.raises(PuzzleError, match="must be 0 or more"):
        puzzle_size(work)
