"""A settlement is a compare-and-set that is written completely or not at all."""

import pytest

from calpow.handler.errors import LedgerError
from calpow.handler.ledger.account import NEW_ACCOUNT, Account
from calpow.handler.ledger.history import History
from calpow.handler.ledger.holders import Standing
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.solutions import MOST_USES, Admission, Outcome
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import (
    MODEL,
    NOW,
    ONCE,
    admit,
    outcomes,
    settle,
    settlement,
    spend,
    spending,
    use,
)

FRESH = Admission.FRESH
REPEAT = Admission.REPEAT
EXHAUSTED = Admission.EXHAUSTED


def test_what_is_settled_is_spent_with_its_outcome(uri: str, ledger: Ledger) -> None:
    first, second = use("a", "b"), use("c", digest="e")
    admit(ledger, first, second)
    later = spending(second, price=2**53 + 1, rest=5)
    later = later._replace(outcome=later.outcome._replace(credit=(2**53 + 1, -3)))
    spent = [spending(first, settled=NOW + 0.25, price=11, work=9), later]
    assert ledger.settle(MODEL, [settlement(*spent)], now=NOW) == [True]
    a, c = Outcome("a+b", "d", NOW + 0.25, 11, 9, 0), Outcome("c", "e", NOW, 2**53 + 1, 8, 5, (2**53 + 1, -3))
    standing = open_ledger(uri).standing(MODEL, "ada", ["c", "b", "unknown", "a"])
    assert standing == Standing(Account(ONCE, 0, 1), {"a": a, "b": a, "c": c})
    assert open_ledger(uri).standing("letters", "ada", ["a"]) == Standing(NEW_ACCOUNT, {"a": a})


def test_an_id_that_was_used_but_not_spent_has_no_outcome(ledger: Ledger) -> None:
    admit(ledger, use("a"), use("b"))
    assert settle(ledger, spending(use("b")))
    assert list(outcomes(ledger, "a", "b")) == ["b"]


@pytest.mark.parametrize("before", [0, 2, -1, 10**9])
def test_a_settlement_of_another_version_is_not_written(ledger: Ledger, before: int) -> None:
    spend(ledger, use("a"))
    admit(ledger, use("b"))
    lost = settlement(spending(use("b")), before=before, history=History(9, 9), owed=9)
    assert ledger.settle(MODEL, [lost], now=NOW) == [False]
    assert ledger.standing(MODEL, "ada", ["b"]) == Standing(Account(ONCE, 0, 1), {})
    assert admit(ledger, use("b")) == [FRESH]


def test_an_account_never_seen_is_settled_from_version_0_only(ledger: Ledger) -> None:
    assert ledger.settle(MODEL, [settlement(before=1)], now=NOW) == [False]
    assert ledger.account(MODEL, "ada") == NEW_ACCOUNT
    assert ledger.settle(MODEL, [settlement(before=0)], now=NOW) == [True]


def test_a_settlement_with_one_spent_id_is_not_written_at_all(ledger: Ledger) -> None:
    first = spend(ledger, use("a"))
    lost = settlement(spending(use("b")), spending(use("c", "a")), before=1, history=History(9, 9), owed=9)
    assert ledger.settle(MODEL, [lost], now=NOW) == [False]
    assert ledger.account(MODEL, "ada") == Account(ONCE, 0, 1)
    assert outcomes(ledger, "a", "b", "c") == {"a": first}


def test_a_settlement_that_spends_an_id_twice_is_not_written(ledger: Ledger) -> None:
    for twice in ([spending(use("a")), spending(use("a", "b"))], [spending(use("a", "a"))]):
        assert ledger.settle(MODEL, [settlement(*twice)], now=NOW) == [False]
    assert ledger.standing(MODEL, "ada", ["a", "b"]) == Standing(NEW_ACCOUNT, {})


def test_settlements_of_one_call_stand_or_fall_by_themselves(ledger: Ledger) -> None:
    spend(ledger, use("spent"))
    wanted = [
        settlement(spending(use("a")), before=1),
        settlement(spending(use("b")), account="bob"),
        settlement(spending(use("c")), account="bob"),
        settlement(spending(use("d")), account="bob", before=1, history=History(7, 7, (7,))),
        settlement(spending(use("spent")), before=2),
        settlement(spending(use("a")), before=2),
        settlement(spending(use("e")), before=2, owed=4),
    ]
    assert ledger.settle(MODEL, wanted, now=NOW) == [True, True, False, True, False, False, True]
    assert ledger.account(MODEL, "bob") == Account(History(7, 7, (7,)), 0, 2)
    assert ledger.account(MODEL, "ada") == Account(ONCE, 4, 3)
    assert set(outcomes(ledger, "a", "e")) == {"a", "e"}
    assert set(ledger.standing(MODEL, "bob", ["b", "c", "d"]).outcomes) == {"b", "d"}


@pytest.mark.parametrize("used", [("ab", "bc"), ("bc", "ab"), ("ab", "bc", "ab"), ("bc", "ab", "bc"), ()])
def test_of_two_solutions_that_share_an_id_the_first_to_settle_spends_it(ledger: Ledger, used: tuple[str, ...]) -> None:
    assert admit(ledger, *(use(*ids) for ids in used)) == [FRESH] * len(used)
    first, second = spending(use("a", "b")), spending(use("b", "c"))
    assert settle(ledger, first)
    assert not settle(ledger, second)
    assert outcomes(ledger, "a", "b", "c") == {"a": first.outcome, "b": first.outcome}
    assert admit(ledger, use("b"), use("b", "c"), use("c")) == [Admission.SPENT, Admission.SPENT, FRESH]


def test_of_two_settlements_of_one_solution_the_first_is_written(uri: str, ledger: Ledger) -> None:
    admit(ledger, use("a"), use("a"))
    assert settle(ledger, spending(use("a"), price=1))
    assert not settle(open_ledger(uri), spending(use("a"), price=2))
    assert outcomes(ledger, "a")["a"].price == 1
    assert ledger.account(MODEL, "ada") == Account(ONCE, 0, 1)


def test_an_id_is_settled_even_if_its_use_was_lost(ledger: Ledger) -> None:
    assert settle(ledger, spending(use("never admitted")))
    assert admit(ledger, *[use("never admitted")] * 5) == [REPEAT] * 4 + [EXHAUSTED]


def test_a_sum_that_cannot_be_kept_is_refused_and_not_rounded(ledger: Ledger) -> None:
    spend(ledger, use("a"))
    for lost in (
        settlement(before=1, history=History(2**63, 1)),
        settlement(before=1, history=History(1, 1, (0, 2**63))),
        settlement(before=1, owed=-(2**63) - 1),
    ):
        with pytest.raises(LedgerError):
            ledger.settle(MODEL, [settlement(spending(use("b")), account="bob"), lost], now=NOW)
    assert ledger.account(MODEL, "ada") == Account(ONCE, 0, 1)
    assert ledger.account(MODEL, "bob") == NEW_ACCOUNT
    assert outcomes(ledger, "b") == {}
    assert settle(ledger, spending(use("b")))


def test_looking_changes_nothing(ledger: Ledger) -> None:
    outcome = spend(ledger, use("a"))
    admit(ledger, use("b"))
    for _ in range(2 * MOST_USES):
        assert ledger.standing(MODEL, "ada", ["a", "b"]) == Standing(Account(ONCE, 0, 1), {"a": outcome})
        assert ledger.account(MODEL, "ada") == Account(ONCE, 0, 1)
    assert admit(ledger, use("a"), *[use("b")] * 4) == [REPEAT] + [FRESH] * 4
