"""Admission: an id has five uses, a retry repeats its outcome, and everything else is refused."""

import pytest

from calpow.handler.ledger.account import NEW_ACCOUNT
from calpow.handler.ledger.holders import Standing
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.solutions import MOST_USES, RETRY_SECONDS, Admission, UseResult
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import (
    MODEL,
    NOW,
    admit,
    admit_one,
    outcomes,
    spend,
    use,
)

FRESH = Admission.FRESH
REPEAT = Admission.REPEAT
SPENT = Admission.SPENT
EXHAUSTED = Admission.EXHAUSTED
MISMATCH = Admission.MISMATCH


def test_an_unknown_id_is_fresh_and_admitting_it_changes_no_account(ledger: Ledger) -> None:
    assert admit_one(ledger, use("a")) == UseResult(FRESH, None, None)
    assert ledger.standing(MODEL, "ada", ["a"]) == Standing(NEW_ACCOUNT, {})


def test_an_id_may_be_used_five_times_by_whoever_asks(uri: str, ledger: Ledger) -> None:
    other = open_ledger(uri)
    assert MOST_USES == 5
    assert admit(ledger, use("a")) == [FRESH]
    assert admit(other, use("a", digest="other")) == [FRESH]
    assert admit(ledger, use("a"), use("a"), use("a")) == [FRESH] * 3
    assert admit(ledger, use("a"), use("b"), use("a", digest="other")) == [EXHAUSTED, FRESH, EXHAUSTED]
    assert outcomes(ledger, "a") == {}


def test_two_uses_of_one_id_in_one_call_are_both_counted(ledger: Ledger) -> None:
    assert admit(ledger, *[use("a")] * 7) == [FRESH] * 5 + [EXHAUSTED] * 2


def test_an_exhausted_id_exhausts_those_it_comes_with_but_does_not_count_them(ledger: Ledger) -> None:
    admit(ledger, *[use("a")] * MOST_USES)
    assert admit(ledger, *[use("b", "a")] * 3) == [EXHAUSTED] * 3
    assert admit(ledger, *[use("b")] * 6) == [FRESH] * 5 + [EXHAUSTED]


def test_each_id_of_a_use_is_counted(ledger: Ledger) -> None:
    admit(ledger, use("a", "b"), use("b", "c"), use("b"))
    assert admit(ledger, *[use("b")] * 3) == [FRESH] * 2 + [EXHAUSTED]
    assert admit(ledger, *[use("a")] * 5) == [FRESH] * 4 + [EXHAUSTED]


def test_a_solution_of_many_ids_is_admitted_and_settled_together(ledger: Ledger) -> None:
    ids = [f"{index:064x}" for index in range(500)]
    outcome = spend(ledger, use(*ids))
    assert outcomes(ledger, *ids, "unknown") == dict.fromkeys(ids, outcome)
    assert admit_one(ledger, use(*ids)) == UseResult(REPEAT, outcome)


def test_the_same_solution_with_the_same_request_repeats_its_outcome(uri: str, ledger: Ledger) -> None:
    outcome = spend(ledger, use("a", "b"))
    assert admit_one(open_ledger(uri), use("a", "b"), NOW + 1) == UseResult(REPEAT, outcome)
    assert admit_one(ledger, use("b", "a", solution="a+b"), NOW + 1) == UseResult(REPEAT, outcome), "in any order"


@pytest.mark.parametrize(
    ("later", "expected"), [(0.0, REPEAT), (599.0, REPEAT), (600.0, REPEAT), (600.001, SPENT), (1e6, SPENT)]
)
@pytest.mark.parametrize("rest", [0, 7])
def test_an_outcome_is_repeated_for_ten_minutes(ledger: Ledger, later: float, expected: Admission, rest: int) -> None:
    assert RETRY_SECONDS == 600.0
    spend(ledger, use("a", expires=NOW + 2e6), rest=rest)
    assert admit(ledger, use("a", expires=NOW + 2e6), now=NOW + later) == [expected]


def test_a_clock_that_was_set_back_takes_no_retry_away(ledger: Ledger) -> None:
    spend(ledger, use("a"))
    assert admit(ledger, use("a"), now=NOW - 3) == [REPEAT]


def test_a_spent_solution_with_another_request_is_spent(ledger: Ledger) -> None:
    spend(ledger, use("a"))
    assert admit_one(ledger, use("a", digest="other")) == UseResult(SPENT, None, None)


def test_another_solution_with_spent_ids_is_spent_whatever_it_adds(ledger: Ledger) -> None:
    spend(ledger, use("a", "b"))
    spend(ledger, use("c"))
    for ids in (["a"], ["a", "b", "c"], ["a", "b", "new"], ["new", "a"], ["a", "c"]):
        assert admit(ledger, use(*ids), use(*ids, solution="c")) == [SPENT] * 2, ids
    for added in ("c", "new"):
        assert admit(ledger, use("a", "b", added, solution="a+b")) == [SPENT], "not even under the same name"
    assert admit(ledger, *[use("new")] * 6) == [FRESH] * 5 + [EXHAUSTED], "what was refused was not counted"


def test_an_answer_is_repeated_within_the_five_uses(ledger: Ledger) -> None:
    admit(ledger, use("a"))
    spend(ledger, use("a"))
    assert admit(ledger, *[use("a")] * 5) == [REPEAT] * 3 + [EXHAUSTED] * 2
    assert admit(ledger, use("a", digest="other")) == [SPENT]


def test_a_withheld_answer_is_repeated_as_often_as_asked_and_not_counted(ledger: Ledger) -> None:
    outcome = spend(ledger, use("a", "b"), rest=7)
    assert outcome.rest == 7
    results = ledger.admit([use("a", "b")] * 40, now=NOW)
    assert results == [UseResult(REPEAT, outcome)] * 40


def test_a_retry_is_repeated_within_the_call_too(ledger: Ledger) -> None:
    spend(ledger, use("a"))
    assert admit(ledger, use("b"), use("a"), use("a", digest="x"), use("b")) == [FRESH, REPEAT, SPENT, FRESH]


def test_a_rest_is_paid_for_the_withheld_answer_of_the_same_request(ledger: Ledger) -> None:
    withheld = spend(ledger, use("a"), rest=7)
    rest = use("r", withheld="a")
    assert admit_one(ledger, rest) == UseResult(FRESH, None, withheld)
    outcome = spend(ledger, rest)
    assert admit_one(ledger, rest) == UseResult(REPEAT, outcome, withheld)
    assert admit_one(ledger, use("a")) == UseResult(REPEAT, withheld), "it stays withheld for the first solution"


def test_a_rest_for_another_request_or_for_what_was_never_withheld_is_a_mismatch(ledger: Ledger) -> None:
    spend(ledger, use("a"), rest=7)
    spend(ledger, use("b"), rest=0)
    admit(ledger, use("c"))
    for wrong in (
        use("r", withheld="a", digest="other"),
        use("r", withheld="b"),
        use("r", withheld="c"),
        use("r", withheld="unknown"),
        use("r", withheld=""),
        use("a", withheld="b"),
    ):
        assert admit_one(ledger, wrong) == UseResult(MISMATCH, None, None), wrong
    assert admit(ledger, *[use("r")] * 6) == [FRESH] * 5 + [EXHAUSTED], "a mismatch is not counted"


def test_a_rest_has_five_uses_and_is_spent_once(ledger: Ledger) -> None:
    withheld = spend(ledger, use("a"), rest=7)
    rest = use("r", withheld="a")
    outcome = spend(ledger, rest)
    assert ledger.admit([rest] * 5, now=NOW) == [UseResult(REPEAT, outcome, withheld)] * 4 + [UseResult(EXHAUSTED)]
    assert admit_one(ledger, use("r", "x", withheld="a")) == UseResult(SPENT)


def test_a_rest_may_be_withheld_in_turn(ledger: Ledger) -> None:
    spend(ledger, use("a"), rest=7)
    second = spend(ledger, use("r", withheld="a"), rest=3)
    assert admit_one(ledger, use("q", withheld="r")) == UseResult(FRESH, None, second)


def test_a_withheld_outcome_is_remembered_while_its_rest_may_be_retried(ledger: Ledger) -> None:
    withheld = spend(ledger, use("a", expires=NOW + 10), rest=7)
    rest = use("r", withheld="a", expires=NOW + 1000)
    assert admit_one(ledger, rest, NOW + 9) == UseResult(FRESH, None, withheld)
    for index in range(20):
        admit(ledger, use(f"n{index}", expires=NOW + 900), now=NOW + 500)
    outcome = spend(ledger, rest, now=NOW + 500)
    assert admit_one(ledger, rest, NOW + 999) == UseResult(REPEAT, outcome, withheld)
