"""Accounts start empty and are kept apart, and charges without payment add up."""

import pytest

from calpow.handler.errors import LedgerError
from calpow.handler.ledger.ledger import (
    NEW_ACCOUNT,
    Account,
    Charge,
    Ledger,
    Standing,
    Totals,
)
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import (
    CHARGE,
    MODEL,
    NOW,
    ONCE,
    settle,
    settlement,
)


def test_an_account_never_seen_is_new(ledger: Ledger) -> None:
    assert ledger.account(MODEL, "ada") == NEW_ACCOUNT == Account(Totals(0, 0, 0), 0, 0)
    assert ledger.standing(MODEL, "ada", ["a"]) == Standing(NEW_ACCOUNT, {})


def test_a_settlement_sets_the_account_and_counts_its_version(uri: str, ledger: Ledger) -> None:
    large = 2**53 + 1
    first = settlement(totals=Totals(large, -large, 7), owed=-12)
    assert ledger.settle(MODEL, [first], now=NOW) == [True]
    assert open_ledger(uri).account(MODEL, "ada") == Account(Totals(large, -large, 7), -12, 1)
    second = settlement(before=1, totals=Totals(large + 1, 3, 8), owed=large)
    assert ledger.settle(MODEL, [second], now=NOW) == [True]
    assert open_ledger(uri).account(MODEL, "ada") == Account(Totals(large + 1, 3, 8), large, 2)


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
    ledger.charge(MODEL, {"ada": Charge(large, -large, 7), "bob": Charge(1, 2, 1)})
    assert settle(ledger, charge=Charge(1, -1, 1), owed=9)
    ledger.charge(MODEL, {"ada": Charge(0, -5, 2)})
    assert ledger.account(MODEL, "ada") == Account(Totals(large + 1, -large - 6, 10), 9, 3)
    assert ledger.account(MODEL, "bob") == Account(Totals(1, 2, 1), 0, 1)
    assert ledger.account("letters", "ada") == NEW_ACCOUNT


def test_what_was_computed_before_a_charge_is_not_settled(ledger: Ledger) -> None:
    ledger.charge(MODEL, {"ada": CHARGE})
    assert ledger.settle(MODEL, [settlement(before=0)], now=NOW) == [False]
    assert ledger.account(MODEL, "ada") == Account(ONCE, 0, 1)


def test_nothing_of_a_charge_is_booked_when_one_sum_cannot_be_kept(ledger: Ledger) -> None:
    ledger.charge(MODEL, {"ada": Charge(2**62, 0, 1)})
    with pytest.raises(LedgerError):
        ledger.charge(MODEL, {"bob": Charge(1, 1, 1), "ada": Charge(2**63 - 1, 0, 1)})
    assert ledger.account(MODEL, "bob") == NEW_ACCOUNT
    assert ledger.account(MODEL, "ada") == Account(Totals(2**62, 0, 1), 0, 1)
