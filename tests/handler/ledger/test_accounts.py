"""Accounts start empty and are kept apart, and charges without payment add up."""

import pytest

from calpow.handler.errors import LedgerError
from calpow.handler.ledger.account import NEW_ACCOUNT, Account, AccountSummary, Rule
from calpow.handler.ledger.history import NO_HISTORY, History
from calpow.handler.ledger.holders import Identity, KeyHolder, Standing
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import (
    MODEL,
    NOW,
    ONCE,
    charge,
    charge_once,
    on_history,
    settle,
    settlement,
    spend,
    use,
)


def test_an_account_never_seen_is_new(ledger: Ledger) -> None:
    assert ledger.account(MODEL, "ada") == NEW_ACCOUNT == Account(NO_HISTORY, 0, 0)
    assert ledger.standing(MODEL, "ada", ["a"]) == Standing(NEW_ACCOUNT, {})


def test_a_settlement_sets_the_account_and_counts_its_version(uri: str, ledger: Ledger) -> None:
    large = 2**53 + 1
    first, second = History(large, 7, (large, -large, 0), b"ab", b"\0c"), History(large + 1, 8, (3,), b"\0\xff", b"")
    assert ledger.settle(MODEL, [settlement(history=first, owed=-12)], now=NOW) == [True]
    assert open_ledger(uri).account(MODEL, "ada") == Account(first, -12, 1)
    assert ledger.settle(MODEL, [settlement(before=1, history=second, owed=large)], now=NOW) == [True]
    assert open_ledger(uri).account(MODEL, "ada") == Account(second, large, 2)
    assert open_ledger(uri).standing(MODEL, "ada", []).account == Account(second, large, 2)


def test_holders_of_keys_are_read_with_their_accounts_and_what_their_requests_spent(ledger: Ledger) -> None:
    ada, bob, revoked = (ledger.add_key(name) for name in ("ada", "bob", "eve"))
    ledger.revoke_key(revoked.split("_")[1])
    outcome = spend(ledger, use("a", "b"))
    state = ledger.account(MODEL, "ada")
    presented: list[tuple[Identity, list[str]]] = [
        (Identity(ada), ["b", "c"]),
        (Identity(revoked), ["a"]),
        (Identity(bob), ["c"]),
        (Identity(ada), []),
        (Identity(""), []),
    ]
    assert ledger.holders(MODEL, presented) == [
        KeyHolder("ada", Standing(state, {"b": outcome})),
        None,
        KeyHolder("bob", Standing(NEW_ACCOUNT, {})),
        KeyHolder("ada", Standing(state, {})),
        None,
    ]
    assert ledger.holders("letters", [(Identity(ada), [])]) == [KeyHolder("ada", Standing(NEW_ACCOUNT, {}))]
    assert ledger.holders(MODEL, []) == []


def test_an_account_that_is_proven_otherwise_is_read_by_its_name_beside_those_of_keys(ledger: Ledger) -> None:
    ada = ledger.add_key("ada")
    outcome = spend(ledger, use("a"))
    state = ledger.account(MODEL, "ada")
    ledger.set_rule("jwt:eve", Rule.BLOCKED)
    presented = [(Identity(account="jwt:new"), ["a"]), (Identity(ada), ["a"]), (Identity(account="jwt:eve"), [])]
    assert ledger.holders(MODEL, [*presented, (Identity(account="ada"), ["a"])])[1:] == [
        KeyHolder("ada", Standing(state, {"a": outcome})),
        KeyHolder("jwt:eve", Standing(NEW_ACCOUNT, {}), Rule.BLOCKED),
        KeyHolder("ada", Standing(state, {"a": outcome})),
    ]
    (new,) = ledger.holders(MODEL, [(Identity(account="jwt:new"), [])])
    assert new == KeyHolder("jwt:new", Standing(NEW_ACCOUNT, {}))


def test_accounts_and_models_are_kept_apart(ledger: Ledger) -> None:
    assert ledger.settle(MODEL, [settlement(), settlement(account="bob", owed=3)], now=NOW) == [True, True]
    assert settle(ledger, account="bob", model="letters")
    once = Account(ONCE, 0, 1)
    assert [ledger.account(MODEL, "ada"), ledger.account(MODEL, "bob")] == [once, Account(ONCE, 3, 1)]
    assert [ledger.account("letters", "ada"), ledger.account("letters", "bob")] == [NEW_ACCOUNT, once]
    assert ledger.standing("letters", "bob", []).account == once


def test_nothing_is_nothing(ledger: Ledger) -> None:
    assert ledger.admit([], now=NOW) == []
    assert ledger.settle(MODEL, [], now=NOW) == []
    ledger.charge(MODEL, {})
    assert ledger.standing(MODEL, "ada", []) == Standing(NEW_ACCOUNT, {})


def test_charges_add_up_exactly_with_what_was_settled(ledger: Ledger) -> None:
    large = 2**53 + 1
    ledger.charge(
        MODEL,
        {
            "ada": on_history(lambda past: charge(past, large, -large)),
            "bob": on_history(lambda past: charge(past, 1, 2)),
        },
    )
    assert settle(ledger, change=lambda past: charge(past, 1, -1), owed=9)
    ledger.charge(MODEL, {"ada": on_history(lambda past: charge(past, 0, -5))})
    expected = History(large + 1, 3, (-large - 6, 0), 3 * ONCE.digests, 3 * ONCE.sketches)
    assert ledger.account(MODEL, "ada") == Account(expected, 9, 3)
    assert ledger.account(MODEL, "bob") == Account(charge(NO_HISTORY, 1, 2), 0, 1)
    assert ledger.account("letters", "ada") == NEW_ACCOUNT


def test_what_was_computed_before_a_charge_is_not_settled(ledger: Ledger) -> None:
    ledger.charge(MODEL, {"ada": on_history(charge_once)})
    assert ledger.settle(MODEL, [settlement(before=0)], now=NOW) == [False]
    assert ledger.account(MODEL, "ada") == Account(ONCE, 0, 1)


@pytest.mark.parametrize("kind", ["cost", "wealth"])
def test_nothing_of_a_charge_is_written_when_one_sum_cannot_be_kept(ledger: Ledger, kind: str) -> None:
    large = (2**62, 0) if kind == "cost" else (0, 2**62)
    ledger.charge(MODEL, {"ada": on_history(lambda past: charge(past, *large))})
    with pytest.raises(LedgerError):
        ledger.charge(MODEL, {"bob": on_history(charge_once), "ada": on_history(lambda past: charge(past, *large))})
    assert ledger.account(MODEL, "bob") == NEW_ACCOUNT
    assert ledger.account(MODEL, "ada") == Account(charge(NO_HISTORY, *large), 0, 1)


def test_an_exception_of_a_change_leaves_all_accounts_as_they_were(ledger: Ledger) -> None:
    def fail(past: History) -> History:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.charge(MODEL, {"bob": on_history(charge_once), "ada": on_history(fail)})
    assert ledger.account(MODEL, "bob") == ledger.account(MODEL, "ada") == NEW_ACCOUNT


def test_an_operators_rule_is_for_all_keys_and_models_of_an_account(uri: str, ledger: Ledger) -> None:
    keys = [ledger.add_key("ada"), ledger.add_key("ada")]
    bob = ledger.add_key("bob")
    assert ledger.rule("ada") is Rule.PRICED
    for rule in (Rule.BLOCKED, Rule.TRUSTED, Rule.PRICED, Rule.BLOCKED):
        ledger.set_rule("ada", rule)
        other = open_ledger(uri)
        assert other.rule("ada") is rule
        for model in (MODEL, "letters"):
            holders = other.holders(model, [(Identity(key), []) for key in (*keys, bob)])
            assert [holder and holder.rule for holder in holders] == [rule, rule, Rule.PRICED]


def test_no_rule_is_set_for_what_is_no_name(ledger: Ledger) -> None:
    with pytest.raises(LedgerError):
        ledger.set_rule("", Rule.BLOCKED)


def test_accounts_are_listed_by_model_and_name(ledger: Ledger) -> None:
    assert ledger.models() == []
    for name in ("bob", "ada", "zoe"):
        history = History(-(2**53), 7, (1, 2**40), b"d" * 8, b"s" * 16)
        assert ledger.settle(MODEL, [settlement(account=name, history=history, owed=-3)], now=NOW) == [True]
    ledger.settle("letters", [settlement(account="eve")], now=NOW)
    assert ledger.models() == [MODEL, "letters"]
    assert list(ledger.summaries(MODEL)) == [
        AccountSummary(name, -(2**53), 7, (1, 2**40), -3, 1) for name in ("ada", "bob", "zoe")
    ]
    assert [summary.name for summary in ledger.summaries("letters")] == ["eve"]
    assert list(ledger.summaries("unknown")) == []


def test_the_mode_of_a_model_is_the_archives_until_an_operator_sets_one(uri: str, ledger: Ledger) -> None:
    assert (ledger.mode(MODEL), ledger.modes()) == (None, {})
    ledger.set_mode(MODEL, "observe")
    ledger.set_mode("letters", "off")
    ledger.set_mode(MODEL, "enforce")
    other = open_ledger(uri)
    assert (other.mode(MODEL), other.mode("unknown")) == ("enforce", None)
    assert other.modes() == {MODEL: "enforce", "letters": "off"}
    ledger.set_mode(MODEL, None)
    ledger.set_mode(MODEL, None)
    assert (other.mode(MODEL), other.modes()) == (None, {"letters": "off"})
