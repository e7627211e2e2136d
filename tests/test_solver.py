"""The solver: right stamps, from the first moment, as long as the caller wants."""

import statistics
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solver import Progress, solve
from calpow.puzzle.stamp import Stamp

RESOURCE = "5f0c0123456789abcdef0123456789ab"


@settings(max_examples=50, deadline=None)
@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=128),
    st.integers(1, 8),
    st.integers(1, 31),
)
def test_what_is_solved_is_accepted(resource: str, bits: int, count: int) -> None:
    puzzle = Puzzle("hashcash-sha1", resource, bits, count)
    puzzle.verify(solve(puzzle))


def test_two_solutions_of_one_puzzle_have_no_stamp_in_common() -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=1, count=16)
    assert set(solve(puzzle)).isdisjoint(solve(puzzle))


def test_a_stamp_is_dated_to_the_second() -> None:
    before = time.strftime("%y%m%d%H%M%S", time.gmtime())
    (stamp,) = solve(Puzzle("hashcash-sha1", RESOURCE, bits=1, count=1))
    assert before <= Stamp.parse(stamp).date <= time.strftime("%y%m%d%H%M%S", time.gmtime())


@pytest.mark.parametrize("resource", ["a", RESOURCE, "x" * 128])
def test_every_counter_costs_one_block_of_the_hash(resource: str) -> None:
    for text in solve(Puzzle("hashcash-sha1", resource, bits=2, count=12)):
        assert (len(text) - len(Stamp.parse(text).counter)) % 64 == 0


def test_progress_is_told_before_the_first_stamp_and_after_each() -> None:
    told: list[tuple[int, int]] = []
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=1, count=3)
    solve(puzzle, progress=lambda step: told.append((step.found, step.count)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_progress_can_end_the_work() -> None:
    def enough(step: Progress) -> None:
        if step.found == 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        solve(Puzzle("hashcash-sha1", RESOURCE, bits=1, count=31), progress=enough)


def test_a_small_puzzle_starts_well_under_a_millisecond() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        solve(Puzzle("hashcash-sha1", RESOURCE, bits=1, count=1))
        return time.perf_counter() - start

    assert min(seconds() for _ in range(50)) < 0.0005


def test_the_counters_tell_that_the_work_done_is_the_work_asked() -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=9, count=31)
    tried = [int(Stamp.parse(text).counter, 16) + 1 for _ in range(4) for text in solve(puzzle)]
    # 124 geometric draws: the mean lies within 45 % of 512, 5 standard deviations.
    assert abs(statistics.mean(tried) / 2**9 - 1) < 0.45
