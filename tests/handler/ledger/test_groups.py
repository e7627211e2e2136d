"""Groups: an account `TENANT/USER` is written together with the account `TENANT`, or not at all."""

from dataclasses import replace

import pytest

from calpow.handler.ledger.account import NEW_ACCOUNT, Account, Rule
from calpow.handler.ledger.api_key import group_of
from calpow.handler.ledger.history import NO_HISTORY, History
from calpow.handler.ledger.holders import Identity
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.settlement import PlannedStates, Settlement, settlement_of
from calpow.handler.ledger.solutions import Admission
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledger_child import charged_account, history_of
from tests.support.ledgers import MODEL, NOW, ONCE, admit, run_children, settlement, spending, use

MEMBERS = 8
TWICE = replace(ONCE, queries=2)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("acme/ada", "acme"),
        ("acme/eu/ada", "acme"),
        ("acme//ada", "acme"),
        ("acme/ ada", "acme"),
        ("acme", None),
        ("acme/", None),
        ("/ada", None),
        ("/", None),
        ("//", None),
        ("acme /ada", None),
        ("", None),
    ],
)
def test_the_group_is_what_stands_before_the_first_slash(name: str, group: str | None) -> None:
    assert group_of(name) == group


def change(ledger: Ledger, name: str, history: History, shared: History, *ids: str) -> Settlement:
    """Return the settlement of a member and its group, from their present states."""
    before = ledger.account(MODEL, name)
    assert before.group is not None
    after = Account(history, before.owed, 0, before.group._replace(history=shared))
    return settlement_of(name, before, after, [spending(use(*ids, account=name))] if ids else [])


def test_a_member_and_its_group_change_together(uri: str, ledger: Ledger) -> None:
    key = ledger.add_key("acme/ada")
    other = ledger.add_key("acme/bob")
    assert ledger.account(MODEL, "acme/ada") == NEW_ACCOUNT._replace(group=NEW_ACCOUNT)
    assert ledger.settle(MODEL, [change(ledger, "acme/ada", ONCE, TWICE, "a")], now=NOW) == [True]
    again = open_ledger(uri)
    group = Account(TWICE, 0, 1)
    assert again.account(MODEL, "acme") == group
    assert again.account(MODEL, "acme/ada") == Account(ONCE, 0, 1, group)
    holders = again.holders(MODEL, [(Identity(key), ["a"]), (Identity(other), ["a"]), (Identity("cp_0"), [])])
    assert [holder and (holder.name, holder.standing.account) for holder in holders] == [
        ("acme/ada", Account(ONCE, 0, 1, group)),
        ("acme/bob", Account(NO_HISTORY, 0, 0, group)),
        None,
    ]
    (proven,) = again.holders(MODEL, [(Identity(account="acme/ada"), ["a"])])
    assert proven == holders[0], "an account that is proven without a key has its group as well"
    assert again.account("letters", "acme/ada") == NEW_ACCOUNT._replace(group=NEW_ACCOUNT)
    assert [summary.name for summary in again.summaries(MODEL)] == ["acme", "acme/ada"]


def test_where_one_of_both_has_changed_neither_is_written(ledger: Ledger) -> None:
    stale = change(ledger, "acme/ada", ONCE, ONCE, "a")
    assert ledger.settle(MODEL, [change(ledger, "acme/bob", ONCE, TWICE)], now=NOW) == [True]
    assert ledger.settle(MODEL, [stale], now=NOW) == [False]
    assert ledger.standing(MODEL, "acme/ada", ["a"]).account == NEW_ACCOUNT._replace(group=Account(TWICE, 0, 1))
    assert ledger.standing(MODEL, "acme/ada", ["a"]).outcomes == {}
    stale = change(ledger, "acme/ada", ONCE, ONCE, "a")
    assert ledger.settle(MODEL, [settlement(account="acme/ada", history=TWICE)], now=NOW) == [True]
    assert ledger.settle(MODEL, [stale], now=NOW) == [False]
    assert ledger.account(MODEL, "acme/ada") == Account(TWICE, 0, 1, Account(TWICE, 0, 1))
    spent = change(ledger, "acme/ada", ONCE, ONCE, "a")
    assert ledger.settle(MODEL, [spent, spent], now=NOW) == [True, False]
    again = change(ledger, "acme/ada", TWICE, TWICE, "a")
    assert ledger.settle(MODEL, [again], now=NOW) == [False]
    assert ledger.account(MODEL, "acme/ada") == Account(ONCE, 0, 2, Account(ONCE, 0, 2))


def test_the_account_of_the_tenants_name_is_the_group(ledger: Ledger) -> None:
    assert ledger.settle(MODEL, [settlement(account="acme", owed=7)], now=NOW) == [True]
    assert ledger.account(MODEL, "acme/ada").group == Account(ONCE, 7, 1)
    assert ledger.settle(MODEL, [change(ledger, "acme/ada", ONCE, TWICE)], now=NOW) == [True]
    assert ledger.account(MODEL, "acme") == Account(TWICE, 7, 2)


def test_members_that_are_settled_together_build_on_one_another(ledger: Ledger) -> None:
    planned, settlements = PlannedStates(), []
    names = ["acme/ada", "acme/bob", "acme", "acme/ada", "zoe"]
    for name in names:
        before = planned.latest(name, ledger.account(MODEL, name))
        after = charged_account(before)
        planned.plan(name, after)
        settlements.append(settlement_of(name, before, after))
    assert ledger.settle(MODEL, settlements, now=NOW) == [True] * len(names)
    assert ledger.account(MODEL, "acme") == Account(history_of(4), 0, 4)
    assert [ledger.account(MODEL, name).version for name in names] == [2, 1, 4, 2, 1]


def test_a_charge_of_many_members_counts_every_one_for_the_group(ledger: Ledger) -> None:
    members = [f"acme/user{number}" for number in range(100)]
    for _ in range(2):
        ledger.charge(MODEL, dict.fromkeys(members, charged_account))
    assert ledger.account(MODEL, "acme") == Account(history_of(200), 0, 200)
    assert {ledger.account(MODEL, name).version for name in members} == {2}


def test_the_solutions_of_members_are_their_own(ledger: Ledger) -> None:
    paid = use("a", account="acme/ada")
    assert admit(ledger, paid) == [Admission.FRESH]
    assert ledger.settle(MODEL, [change(ledger, "acme/ada", ONCE, ONCE, "a")], now=NOW) == [True]
    assert admit(ledger, paid) == [Admission.REPEAT]
    assert set(ledger.standing(MODEL, "acme/ada", ["a"]).outcomes) == {"a"}


def test_a_groups_rule_holds_for_its_members(uri: str, ledger: Ledger) -> None:
    names = ["acme/ada", "acme", "acme/", "bob"]
    keys = [ledger.add_key(name) for name in names]

    def rules() -> list[Rule]:
        other = open_ledger(uri)
        seen = [other.rule(name) for name in names]
        holders = other.holders(MODEL, [(Identity(key), []) for key in keys])
        assert [holder and holder.rule for holder in holders] == seen
        return seen

    priced, trusted, blocked = Rule.PRICED, Rule.TRUSTED, Rule.BLOCKED
    assert rules() == [priced] * 4
    ledger.set_rule("acme", trusted)
    assert rules() == [trusted, trusted, priced, priced]
    ledger.set_rule("acme/ada", blocked)
    assert rules() == [blocked, trusted, priced, priced]
    ledger.set_rule("acme", blocked)
    ledger.set_rule("acme/ada", trusted)
    assert rules() == [blocked, blocked, priced, priced]
    ledger.set_rule("acme", priced)
    assert rules() == [trusted, priced, priced, priced]
    assert ledger.rules() == {"acme": priced, "acme/ada": trusted}


@pytest.mark.slow
def test_processes_that_settle_members_of_one_group_lose_nothing_of_the_group(uri: str) -> None:
    names = [f"acme/user{number}" for number in range(MEMBERS)]
    results = run_children([["hammer", uri, name, "50"] for name in names])
    assert sum(result["settled"] for result in results) == MEMBERS * 50
    assert sum(result["conflicts"] for result in results) > 0, "they never met"
    ledger = open_ledger(uri)
    group = Account(history_of(MEMBERS * 50), 0, MEMBERS * 50)
    assert ledger.account(MODEL, "acme") == group
    for name in names:
        assert ledger.account(MODEL, name) == Account(history_of(50), -50, 50, group)


@pytest.mark.slow
def test_processes_that_observe_members_and_that_settle_them_lose_nothing_of_the_group(uri: str) -> None:
    results = run_children(
        [[role, uri, f"acme/{role}{number}", "40"] for number in range(MEMBERS // 2) for role in ("hammer", "observe")]
    )
    assert sum(result["settled"] for result in results) == MEMBERS * 40
    assert open_ledger(uri).account(MODEL, "acme") == Account(history_of(MEMBERS * 40), 0, MEMBERS * 40)
