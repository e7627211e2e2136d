"""The miner in machine code: it overlooks no stamp, and hashes one block per try."""

import pytest

from calpow.puzzle.puzzle import MAX_RESOURCE_LENGTH, Puzzle
from calpow.puzzle.solving.engines import FAST
from calpow.puzzle.solving.solver import run_solver
from calpow.puzzle.stamp import MAX_STAMP_LENGTH
from tests.support.solving import RESOURCE, needs_fast_engine

pytestmark = needs_fast_engine

HEX, LETTERS = "0123456789abcdef", "ABCDEFGHIJKLMNOP"


@pytest.mark.parametrize("resource", ["a", "5f0c0123456789ab", RESOURCE, "x" * MAX_RESOURCE_LENGTH])
def test_every_counter_fits_into_the_last_block(resource: str) -> None:
    puzzle = Puzzle("hashcash-sha256", resource, bits=2, count=12)
    for text in run_solver(puzzle, FAST).stamps:
        assert len(text) % 64 == 55  # one byte more, and the message's length would need a block of its own
        assert len(text) <= MAX_STAMP_LENGTH


@pytest.mark.parametrize("algorithm", ["hashcash-sha1", "hashcash-sha256"])
def test_no_stamp_is_overlooked(algorithm: str) -> None:
    puzzle = Puzzle(algorithm, RESOURCE, bits=11, count=8)
    digest = puzzle.digest
    for text in run_solver(puzzle, FAST, workers=1).stamps:
        prefix, number = text[:-7], int(text[-7:].translate(str.maketrans(LETTERS, HEX)), 16)
        for earlier in range(number):
            letters = f"{earlier:07x}".translate(str.maketrans(HEX, LETTERS))
            assert int.from_bytes(digest(f"{prefix}{letters}".encode()), "big") >> (8 * len(digest(b"")) - 11)


def test_bits_beyond_the_first_word_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calpow.puzzle.solving.simd_miner.MAX_MASKED_BITS", 5)
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=11, count=16)
    puzzle.verify(run_solver(puzzle, FAST).stamps)
