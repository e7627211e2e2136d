"""Prepaid stamps make up a price exactly or hardly more, in no more stamps than the server reads."""

import os
import time
from dataclasses import replace

import pytest

from calpow.client.prepaid.stamps import PrepaidTerms, Prepayment, StampBatch
from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.puzzle import Puzzle

TERMS = PrepaidTerms("digits@9f2c41/0123456789abcdef", "hashcash-sha1", None, 31)


@pytest.mark.parametrize("hashes", [1, 2, 3, 31, 32, 1024, 27 << 9, (27 << 9) + 1, 10**9])
@pytest.mark.parametrize("max_count", [1, 7, 31])
def test_a_puzzle_pays_the_price_and_hardly_more(hashes: int, max_count: int) -> None:
    puzzle = TERMS.puzzle(hashes, max_count)
    assert puzzle is not None
    assert puzzle.count <= max_count
    assert hashes <= puzzle.expected_hashes <= max(2 * hashes, hashes * (1 + 2 / (max_count + 1)) + 2)


def test_the_work_of_the_server_s_own_puzzles_is_met_exactly() -> None:
    for bits in range(1, 41):
        for count in range(16, 32):
            assert TERMS.puzzle(count << bits, 31) == Puzzle(TERMS.algorithm, TERMS.resource, bits, count)


def test_there_is_no_puzzle_without_room_or_beyond_the_largest() -> None:
    assert TERMS.puzzle(1, 0) is None
    assert TERMS.puzzle(1 << 62, 31) is None


@pytest.mark.parametrize(("count", "max_stamps"), [(16, 31), (31, 31), (4, 7), (1, 1)])
def test_where_a_digest_is_dear_no_more_stamps_are_sent_than_challenges_have(count: int, max_stamps: int) -> None:
    scrypt = Puzzle("scrypt", "5f0c", 1, count, ScryptCost(2, 1, 1))
    assert PrepaidTerms.of_challenge("digits@9f2c41", "key", scrypt).max_stamps == max_stamps
    sha1 = Puzzle("hashcash-sha1", "5f0c", 1, count)
    assert PrepaidTerms.of_challenge("digits@9f2c41", "key", sha1).max_stamps == 31


def test_stamps_are_usable_while_they_are_fresh_and_in_their_own_process() -> None:
    now = time.monotonic()
    assert StampBatch(("stamp",), 2, now + 60).is_usable()
    assert not StampBatch(("stamp",), 2, now).is_usable()
    assert not StampBatch(("stamp",), 2, now + 60, process=os.getpid() + 1).is_usable()


def test_a_prepayment_adds_up() -> None:
    stale_at = time.monotonic() + 60
    batches = (StampBatch(("a", "b"), 4, stale_at), StampBatch(("c",), 8, stale_at))
    prepayment = Prepayment(batches, TERMS.puzzle(16, 31))
    assert prepayment.stamps == ("a", "b", "c")
    assert (prepayment.stock_hashes, prepayment.hashes) == (12, 28)


@pytest.mark.parametrize("count", range(4, 32))
def test_a_price_is_met_exactly_with_the_few_stamps_that_the_server_itself_asks_for(count: int) -> None:
    challenge = Puzzle("hashcash-sha1", "5f0c", 13, count)
    terms = PrepaidTerms.of_challenge("digits@9f2c41", "key", challenge)
    assert terms.puzzle(challenge.expected_hashes, 31) == replace(challenge, resource=terms.resource)


def test_a_price_below_the_stamps_of_the_server_takes_at_least_four_smaller_ones() -> None:
    for hashes in range(8, 1 << 13):
        puzzle = replace(TERMS, bits=13).puzzle(hashes, 31)
        assert puzzle is not None
        assert 4 <= puzzle.count <= 7
        assert hashes <= puzzle.expected_hashes <= 1.25 * hashes + 1
