"""Limits of accounts and the samples that are counted for them, in every ledger."""

import pytest

from calpow.handler.errors import LedgerError
from calpow.handler.ledger.account import NEW_ACCOUNT, Account
from calpow.handler.ledger.history import NO_HISTORY
from calpow.handler.ledger.holders import Identity
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import NO_LIMITS, NO_USAGE, AccountLimits, Usage
from calpow.handler.ledger.settlement import settlement_of
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import MODEL, NOW, ONCE, settlement

LIMITS = AccountLimits(100, 2**50, 500, 0.25, 20.5)


def test_limits_are_seen_wherever_an_account_is_read_also_before_it_has_queried(uri: str, ledger: Ledger) -> None:
    names = ["ada", "acme/ada", "acme"]
    keys = [ledger.add_key(name) for name in names]
    assert (ledger.limits_of("ada"), dict(ledger.limits())) == (NO_LIMITS, {})
    ledger.set_limits("ada", LIMITS)
    ledger.set_limits("acme", AccountLimits(free=7))
    ledger.set_limits("acme/ada", AccountLimits(ceiling_seconds=2.5))
    other = open_ledger(uri)
    assert other.limits() == {
        "acme": AccountLimits(free=7),
        "acme/ada": AccountLimits(ceiling_seconds=2.5),
        "ada": LIMITS,
    }
    ada = NEW_ACCOUNT._replace(limits=LIMITS)
    group = NEW_ACCOUNT._replace(limits=AccountLimits(free=7))
    member = Account(NO_HISTORY, 0, 0, group, NO_USAGE, AccountLimits(ceiling_seconds=2.5))
    for seen in (
        [other.account(MODEL, name) for name in names],
        [other.standing(MODEL, name, ["id"]).account for name in names],
        [holder and holder.standing.account for holder in other.holders(MODEL, [(Identity(key), []) for key in keys])],
    ):
        assert seen == [ada, member, group]
    assert other.settle(MODEL, [settlement()], now=NOW) == [True]
    assert ledger.account(MODEL, "ada") == Account(ONCE, 0, 1, None, NO_USAGE, LIMITS)
    other.set_limits("ada", NO_LIMITS)
    other.set_limits("ada", NO_LIMITS)
    assert ledger.limits_of("ada") == NO_LIMITS
    assert "ada" not in ledger.limits()


def test_no_limits_are_set_for_what_is_no_name(ledger: Ledger) -> None:
    with pytest.raises(LedgerError):
        ledger.set_limits("", LIMITS)


def test_samples_are_counted_with_the_settlement_and_otherwise_stay_as_they_are(uri: str, ledger: Ledger) -> None:
    before = ledger.account(MODEL, "acme/ada")
    after = before.on(20_000).counted(3)
    assert ledger.settle(MODEL, [settlement_of("acme/ada", before, after)], now=NOW) == [True]
    assert ledger.settle(MODEL, [settlement_of("acme/ada", before, after)], now=NOW) == [False]
    assert ledger.settle(MODEL, [settlement(account="acme/ada", before=1)], now=NOW) == [True]
    state = open_ledger(uri).account(MODEL, "acme/ada")
    assert state.group is not None
    assert (state.usage, state.group.usage, state.version) == (Usage(3, 20_000, 3), Usage(3, 20_000, 3), 2)


@pytest.mark.parametrize(("day", "today"), [(100, 5), (99, 5), (98, 0), (101, 0), (0, 0), (30_000, 0)])
def test_a_day_ends_and_a_clock_that_is_a_day_ahead_ends_it_for_all(day: int, today: int) -> None:
    assert Usage(9, 100, 5).on(day).today == today
    assert Usage(9, 100, 5).on(day).total == 9


@pytest.mark.parametrize(
    ("own", "group", "free", "left"),
    [
        (NO_LIMITS, NO_LIMITS, 0, None),
        (AccountLimits(free=10), NO_LIMITS, 8, None),
        (NO_LIMITS, AccountLimits(free=10), 5, None),
        (AccountLimits(free=4), AccountLimits(free=10), 2, None),
        (AccountLimits(free=0), AccountLimits(free=10), 0, None),
        (AccountLimits(free=1), NO_LIMITS, 0, None),
        (AccountLimits(budget=10), NO_LIMITS, 0, 7),
        (AccountLimits(budget=10, day_budget=5), NO_LIMITS, 0, 3),
        (AccountLimits(budget=10), AccountLimits(budget=9, day_budget=9), 0, 2),
        (AccountLimits(budget=1), NO_LIMITS, 0, 0),
    ],
)
def test_what_account_and_group_both_allow_is_left(
    own: AccountLimits, group: AccountLimits, free: int, left: int | None
) -> None:
    shared = Account(NO_HISTORY, 0, 1, None, Usage(7, 100, 5), group)
    account = Account(NO_HISTORY, 0, 1, shared, Usage(3, 100, 2), own)
    assert (account.free_samples, account.samples_left) == (free, left)
