"""Named puzzles, and the steps in which their work can be had."""

import itertools
from dataclasses import replace

import pytest

from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.solving.solver import solve


@pytest.mark.parametrize("name", PROFILES)
def test_work_can_be_had_in_steps_of_one_over_the_fewest_stamps(name: str) -> None:
    kind = PROFILES[name].kind
    least = 2 * kind.least_stamps
    sizes = sorted({kind.puzzle(work / 4, "size").expected_hashes for work in range(4 * least, 4 * 64 * least)})
    assert sizes[0] == least
    assert max(after / before - 1 for before, after in itertools.pairwise(sizes)) <= 1 / kind.least_stamps
    puzzles = [kind.puzzle(work, "size") for work in range(least, 64 * least)]
    assert all(kind.least_stamps <= puzzle.count <= kind.most_stamps for puzzle in puzzles)


def test_the_kinds_for_everyday_use_have_16_stamps_and_so_steps_of_a_sixteenth() -> None:
    assert {name for name, profile in PROFILES.items() if profile.kind.least_stamps < 16} == {"scrypt-hard"}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profiles_least_puzzle_is_solved_and_accepted(name: str) -> None:
    puzzle = PROFILES[name].kind.puzzle(0.0, "5f0c")
    puzzle.verify(solve(puzzle))


def test_puzzles_whose_stamps_need_bits_have_fewer_of_them_and_no_more_than_others() -> None:
    kind = replace(PROFILES["hashcash-sha1"].kind, least_bits=12)
    counts = {puzzle.count for puzzle in (kind.puzzle(2 ** (step / 8), "size") for step in range(8 * 3, 8 * 20))}
    assert counts == set(range(4, 31 + 1)) & counts
    assert min(counts) == 4
    assert kind.most_stamps == 31
    # From 16 stamps of 12 bits on, nothing differs.
    plain = PROFILES["hashcash-sha1"].kind
    assert all(kind.puzzle(work, "size") == plain.puzzle(work, "size") for work in range(16 << 12, 40 << 12, 501))


def test_a_puzzle_of_four_stamps_is_solved_and_accepted() -> None:
    puzzle = replace(PROFILES["hashcash-sha1"].kind, least_bits=6).puzzle(4 << 6, "5f0c")
    assert (puzzle.bits, puzzle.count) == (6, 4)
    puzzle.verify(solve(puzzle))
