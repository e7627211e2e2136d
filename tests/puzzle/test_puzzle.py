"""Puzzles: their bounds, their sizes, and the verification of stamps."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.puzzle.errors import MalformedStamp, PuzzleError, WrongStamp
from calpow.puzzle.puzzle import MAX_BITS, MAX_COUNT, Puzzle, puzzle_size
from calpow.puzzle.stamp import leading_zero_bits
from tests.support.shared_cases import SOLUTIONS, STAMPS, Case, parameters, puzzle_of

RESOURCE = "5f0c0123456789abcdef0123456789ab"
LARGEST = 31 * 2**MAX_BITS
MINTED = [case for case in SOLUTIONS["accepted"] if case["challenge"]["count"] > 1]

minted_of_every_algorithm = pytest.mark.parametrize("case", parameters(MINTED, lambda case: case))


def hashes(work: float) -> int:
    bits, count = puzzle_size(work)
    return Puzzle("hashcash-sha1", "5f0c", bits, count).expected_hashes


# Bounds


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


# Verification


@pytest.mark.parametrize(
    ("document", "stamps"),
    parameters(SOLUTIONS["accepted"], lambda case: case["challenge"], lambda case: case["stamps"]),
)
def test_the_stamps_of_a_puzzle_are_accepted(document: Mapping[str, Any], stamps: list[str]) -> None:
    puzzle_of(document).verify(stamps)


@pytest.mark.parametrize("case", parameters(SOLUTIONS["wrong"], lambda case: case))
def test_other_stamps_are_refused_with_the_reason(case: Case) -> None:
    with pytest.raises(WrongStamp) as caught:
        puzzle_of(case["challenge"]).verify(case["stamps"])
    assert caught.value.fault == case["fault"]


def test_the_message_names_the_bits_that_a_stamp_has_and_needs() -> None:
    for case in SOLUTIONS["wrong"]:
        if case["name"].endswith("one bit too few"):
            with pytest.raises(WrongStamp, match="stamp 0 has 4 bits of work: this puzzle asks for 5"):
                puzzle_of(case["challenge"]).verify(case["stamps"])


@minted_of_every_algorithm
@pytest.mark.parametrize("hostile", parameters(STAMPS["refused"], lambda case: case["stamp"]))
def test_a_malformed_stamp_is_refused_before_anything_is_hashed(case: Case, hostile: str) -> None:
    worthless = f"1:5:260115:{RESOURCE}:0:r:0"
    with pytest.raises(MalformedStamp):
        puzzle_of(case["challenge"]).verify([worthless, hostile, case["stamps"][2]])


@minted_of_every_algorithm
@given(data=st.data())
@settings(max_examples=60)
def test_an_altered_stamp_is_refused_unless_it_has_the_work_by_chance(case: Case, data: st.DataObject) -> None:
    puzzle, stamps = puzzle_of(case["challenge"]), case["stamps"]
    place = data.draw(st.integers(0, len(stamps[1]) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda letter: letter != stamps[1][place]))
    altered = stamps[1][:place] + letter + stamps[1][place + 1 :]
    try:
        puzzle.verify([stamps[0], altered, stamps[2]])
    except (MalformedStamp, WrongStamp):
        return
    fields = altered.split(":")
    assert (fields[0], fields[1], fields[3], fields[4]) == ("1", "5", RESOURCE, "1")
    assert leading_zero_bits(puzzle.digest(altered.encode())) >= puzzle.bits


# Sizes


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


# Sizes of puzzles whose stamps have a least number of bits


@pytest.mark.parametrize(
    ("work", "size"),
    [
        (0, (1, 1)),
        (6, (1, 3)),
        (8, (1, 4)),
        (15, (2, 4)),  # the same work as 8 stamps of one bit
        (40_000, (13, 5)),
        (4 * 2**14 - 1, (14, 4)),
        (7 * 2**12, (12, 7)),
        (5 * 2**14, (14, 5)),
        (15.4 * 2**14, (14, 15)),
        (15.6 * 2**14, (14, 16)),
        (31 * 2**14, (14, 31)),
        (32 * 2**14, (15, 16)),
        (LARGEST, (MAX_BITS, 31)),
    ],
)
def test_known_sizes_of_stamps_of_14_bits_or_more(work: float, size: tuple[int, int]) -> None:
    assert puzzle_size(work, least_bits=14) == size


@given(st.floats(min_value=8, max_value=2**39), st.integers(1, 32), st.integers(1, MAX_BITS))
def test_stamps_have_fewer_bits_than_the_least_only_where_there_are_few_and_never_needlessly(
    work: float, least: int, least_bits: int
) -> None:
    bits, count = puzzle_size(work, least, least_bits)
    fewest = min(4, least)
    assert 1 <= count < 2 * least
    assert abs((count << bits) - work) <= 2**bits / 2
    if bits > least_bits:
        assert count >= least
    elif 1 < bits < least_bits:
        assert fewest <= count < 2 * fewest


@given(st.floats(min_value=0, max_value=2**30), st.floats(min_value=0, max_value=2**30), st.integers(1, MAX_BITS))
def test_more_work_never_gets_a_smaller_puzzle_of_few_stamps(one: float, other: float, least_bits: int) -> None:
    sizes = [puzzle_size(work, least_bits=least_bits) for work in sorted((one, other))]
    assert sizes[0][1] << sizes[0][0] <= sizes[1][1] << sizes[1][0]


@pytest.mark.parametrize("least_bits", [0, -1, MAX_BITS + 1])
def test_a_least_number_of_bits_that_no_stamp_has_is_refused(least_bits: int) -> None:
    with pytest.raises(PuzzleError, match="between 1 and 40"):
        puzzle_size(1.0, least_bits=least_bits)
