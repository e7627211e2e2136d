"""Failures of the victim leave the work unspent, up to ten an hour."""

from calpow.handler.ledger.account import NEW_ACCOUNT, Account
from calpow.handler.ledger.holders import Standing
from calpow.handler.ledger.ledger import FAILURE_SECONDS, MOST_FAILURES, Ledger
from calpow.handler.ledger.solutions import Admission, UseResult
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import (
    MODEL,
    NOW,
    ONCE,
    admit,
    admit_one,
    charge_once,
    fail,
    on_history,
    outcomes,
    settle,
    settlement,
    spend,
    spending,
    use,
)

FRESH = Admission.FRESH
REPEAT = Admission.REPEAT
SPENT = Admission.SPENT
EXHAUSTED = Admission.EXHAUSTED
MISMATCH = Admission.MISMATCH


def test_a_failure_leaves_the_ids_and_the_account_as_they_are(ledger: Ledger) -> None:
    settle(ledger, owed=3)
    admit(ledger, use("a"))
    fail(ledger, "a")
    assert ledger.standing(MODEL, "ada", ["a"]) == Standing(Account(ONCE, 3, 1), {})
    assert admit(ledger, *[use("a")] * 5) == [FRESH] * 4 + [EXHAUSTED]


def test_failures_of_an_account_never_seen_do_not_make_it_known(ledger: Ledger) -> None:
    fail(ledger, "a", times=3)
    assert ledger.account(MODEL, "ada") == NEW_ACCOUNT
    assert ledger.settle(MODEL, [settlement(before=0)], now=NOW) == [True]


def test_the_eleventh_failure_within_an_hour_spends_its_ids_for_good(uri: str, ledger: Ledger) -> None:
    assert (MOST_FAILURES, FAILURE_SECONDS) == (10, 3600.0)
    admit(ledger, use("a"), use("b", "c"))
    fail(ledger, "a", times=10)
    assert outcomes(ledger, "a") == {}
    fail(open_ledger(uri), "b", "c", now=NOW + 3600)
    spent = outcomes(ledger, "a", "b", "c")
    assert set(spent) == {"b", "c"}
    assert [
        (outcome.digest, outcome.settled, outcome.price, outcome.work, outcome.rest) for outcome in spent.values()
    ] == [("", NOW + 3600, 0, 0, 0)] * 2
    (name,) = {outcome.solution for outcome in spent.values()}
    for digest in ("d", ""):
        assert admit(ledger, use("b", "c", digest=digest), now=NOW + 3600) == [SPENT]
        assert admit(ledger, use("x", withheld=name, digest=digest), now=NOW + 3600) == [MISMATCH]
    assert not settle(ledger, spending(use("b", "c")))
    assert admit(ledger, use("a"), now=NOW + 3600) == [FRESH]
    assert ledger.account(MODEL, "ada") == NEW_ACCOUNT


def test_every_failure_beyond_ten_spends_until_the_hour_is_over(ledger: Ledger) -> None:
    fail(ledger, "a", times=10)
    for index in range(5):
        fail(ledger, f"b{index}", now=NOW + 60 * index)
    assert len(outcomes(ledger, *[f"b{index}" for index in range(5)])) == 5
    later = NOW + 3600.001
    for index in range(11):
        assert outcomes(ledger, *[f"c{earlier}" for earlier in range(index)]) == {}
        fail(ledger, f"c{index}", now=later)
    assert list(outcomes(ledger, *[f"c{index}" for index in range(11)])) == ["c10"]


def test_the_window_starts_with_the_first_failure(ledger: Ledger) -> None:
    fail(ledger, "a")
    fail(ledger, "a", times=9, now=NOW + 3599)
    fail(ledger, "b", times=10, now=NOW + 3601)
    assert outcomes(ledger, "a", "b") == {}


def test_failures_of_other_accounts_and_models_do_not_count(ledger: Ledger) -> None:
    fail(ledger, "a", times=10)
    fail(ledger, "b", account="bob")
    fail(ledger, "b", model="letters")
    assert outcomes(ledger, "a", "b") == {}


def test_settling_and_charging_do_not_forget_failures(ledger: Ledger) -> None:
    fail(ledger, "a", times=10)
    settle(ledger)
    ledger.charge(MODEL, {"ada": on_history(charge_once)})
    fail(ledger, "a")
    assert set(outcomes(ledger, "a")) == {"a"}
    assert ledger.account(MODEL, "ada") == Account(charge_once(ONCE), 0, 2)


def test_a_failure_does_not_change_what_is_settled(ledger: Ledger) -> None:
    outcome = spend(ledger, use("a"))
    fail(ledger, "b", times=10)
    fail(ledger, "a", "c")
    spent = outcomes(ledger, "a", "c")
    assert spent["a"] == outcome
    assert spent["c"].digest == ""
    assert admit_one(ledger, use("a")) == UseResult(REPEAT, outcome)
    fail(ledger, "a", "c")
    assert outcomes(ledger, "a", "c") == spent
