"""An endpoint pays its announced price from the stock and new stamps, and learns from what the server replies."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest

from calpow.client.prepaid.endpoint import Endpoint
from calpow.client.prepaid.stamps import PrepaidTerms, StampBatch
from calpow.puzzle.algorithms import ScryptCost
from tests.support.replies import NOW, answer, demand

TERMS = PrepaidTerms("digits@9f2c41/0123456789abcdef", "hashcash-sha1", None, 31)
SCRYPT = PrepaidTerms("digits@9f2c41/0123456789abcdef", "scrypt", ScryptCost(2, 1, 1), 31)
OTHER_DEPLOYMENT = replace(TERMS, resource="digits@00ffee/0123456789abcdef")
PREPAID = "prepaid 1:4:x"


def batch(count: int = 1, hashes: int = 1024, seconds: float = 60) -> StampBatch:
    return StampBatch(("stamp",) * count, hashes, time.monotonic() + seconds)


@pytest.mark.parametrize("held", [0, 1, 20, 30, 31])
def test_there_are_never_more_stamps_than_a_server_reads(held: int) -> None:
    prepayment = Endpoint(SCRYPT, next_hashes=64 << 9, stock=(batch(held, held << 9),)).prepayment()
    assert prepayment.puzzle is not None
    assert len(prepayment.stamps) == (held if held < 31 else 0)
    assert len(prepayment.stamps) + prepayment.puzzle.count <= 31
    assert prepayment.hashes >= 64 << 9


def test_a_stock_that_is_enough_is_all_that_is_sent() -> None:
    prepayment = Endpoint(TERMS, next_hashes=1024, stock=(batch(),)).prepayment()
    assert (prepayment.stamps, prepayment.puzzle) == (("stamp",), None)


def test_stamps_are_thrown_away_before_they_go_stale() -> None:
    endpoint = Endpoint(TERMS, next_hashes=1024, stock=(batch(seconds=0),))
    prepayment = endpoint.prepayment()
    assert prepayment.stamps == ()
    assert prepayment.puzzle is not None
    assert prepayment.puzzle.expected_hashes == 1024
    assert endpoint.with_stamps(TERMS, batch(2)).stock[0].stamps == ("stamp", "stamp")


def test_stamps_minted_for_terms_that_have_changed_are_not_kept() -> None:
    endpoint = Endpoint(OTHER_DEPLOYMENT, next_hashes=1024)
    minted = batch()
    assert endpoint.with_stamps(TERMS, minted).stock == ()
    assert endpoint.with_stamps(replace(OTHER_DEPLOYMENT, max_stamps=7), minted).stock == (minted,)


def test_the_small_challenge_of_a_rest_does_not_change_how_many_stamps_a_server_reads() -> None:
    rest = replace(SCRYPT, max_stamps=3)
    assert Endpoint(SCRYPT).after_challenge(rest, demand("more-required")).terms.max_stamps == 31


def test_a_stock_that_lacks_a_part_of_the_price_is_filled_with_stamps_of_the_server_s_size() -> None:
    for held in range(5):
        stock = (batch(held, held << 13),)
        puzzle = Endpoint(replace(TERMS, bits=13), next_hashes=5 << 13, stock=stock).shortfall()
        assert puzzle is not None
        assert (puzzle.bits, puzzle.count) == (13, 5 - held)


def test_the_small_stamps_of_a_rest_do_not_change_how_large_prepaid_ones_are() -> None:
    endpoint = Endpoint(replace(TERMS, bits=13)).after_challenge(replace(TERMS, bits=9), demand("more-required"))
    assert endpoint.terms.bits == 13
    assert endpoint.after_challenge(replace(TERMS, bits=9), demand("pow-required")).terms.bits == 9


def test_another_kind_of_challenge_empties_the_stock_and_is_paid_for_beforehand_again() -> None:
    endpoint = Endpoint(TERMS, stock=(batch(),), refuses_stamps=True).after_challenge(OTHER_DEPLOYMENT, demand())
    assert (endpoint.terms, endpoint.stock, endpoint.refuses_stamps) == (OTHER_DEPLOYMENT, (), False)


@pytest.mark.parametrize(
    ("problem", "solution", "dated", "refuses", "keeps_stock"),
    [
        ("pow-required", None, True, False, True),
        ("more-required", PREPAID, True, False, True),
        ("challenge-spent", PREPAID, True, False, True),
        ("invalid-solution", "e30.e30.c2ln stamp", True, False, True),
        ("invalid-solution", PREPAID, True, True, False),
        ("challenge-expired", PREPAID, True, False, False),
        ("challenge-expired", PREPAID, False, True, False),
    ],
)
def test_stamps_are_no_more_sent_where_new_ones_would_be_refused_too(
    problem: str, solution: str | None, dated: bool, refuses: bool, keeps_stock: bool
) -> None:
    reply = replace(demand(problem, date=NOW if dated else None), solution=solution)
    endpoint = Endpoint(TERMS, next_hashes=1024, stock=(batch(),)).after_challenge(TERMS, reply)
    assert (endpoint.refuses_stamps, bool(endpoint.stock)) == (refuses, keeps_stock)
    assert endpoint.can_prepay(1024) != refuses


def test_a_price_is_paid_beforehand_if_it_is_known_and_within_the_limit() -> None:
    endpoint = Endpoint(TERMS)
    assert not endpoint.can_prepay(1024)
    endpoint = endpoint.after_answer(1024, answer(1024))
    assert (endpoint.can_prepay(1024), endpoint.can_prepay(1023)) == (True, False)


def test_the_server_s_clock_is_learned_from_its_date() -> None:
    ahead = NOW + timedelta(days=1)
    endpoint = Endpoint(TERMS).after_challenge(TERMS, demand(date=ahead))
    assert abs(endpoint.server_time - ahead) < timedelta(seconds=30)
    assert endpoint.after_challenge(TERMS, demand(date=None)).clock == endpoint.clock
