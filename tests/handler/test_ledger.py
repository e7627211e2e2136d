"""What every ledger promises: one suite for all backends (see `tests/support/ledger_backends.py`)."""

import re
from collections.abc import Callable

import pytest

from calpow.handler.ledger import DEFAULT_URI, ledger_uri, open_ledger
from calpow.handler.ledger.ledger import (
    FAILURE_SECONDS,
    MOST_FAILURES,
    MOST_USES,
    NEW_ACCOUNT,
    RETRY_SECONDS,
    Account,
    Admission,
    Charge,
    Ledger,
    LedgerError,
    Outcome,
    Standing,
    Totals,
    UseResult,
)
from tests.support.ledgers import CHARGE, MODEL, NOW, ONCE, admit, admit_one, settle, settlement, spend, spending, use

pytest_plugins = ["tests.support.ledger_backends"]

FRESH, REPEAT, SPENT = Admission.FRESH, Admission.REPEAT, Admission.SPENT
EXHAUSTED, MISMATCH = Admission.EXHAUSTED, Admission.MISMATCH


@pytest.fixture
def ledger(uri: str) -> Ledger:
    return open_ledger(uri)


def outcomes(ledger: Ledger, *ids: str) -> dict[str, Outcome]:
    """The outcomes of those of the ids that are spent."""
    return dict(ledger.standing(MODEL, "ada", ids).outcomes)


def fail(ledger: Ledger, *ids: str, times: int = 1, account: str = "ada", model: str = MODEL, now: float = NOW) -> None:
    for _ in range(times):
        ledger.fail(model, account, ids, expires=now + 900, now=now)


# What is made once


def test_everybody_sees_the_same_deployment_and_secrets(uri: str) -> None:
    ledgers = [open_ledger(uri) for _ in range(3)]
    assert len({ledger.deployment() for ledger in ledgers}) == 1
    assert len({ledger.secrets() for ledger in ledgers}) == 1


def test_a_deployment_is_named_by_six_hex_digits(ledger: Ledger) -> None:
    assert re.fullmatch("[0-9a-f]{6}", ledger.deployment())


def test_there_is_a_secret_of_32_bytes_from_the_start(ledger: Ledger) -> None:
    (secret,) = ledger.secrets()
    assert len(secret.value) == 32
    assert secret.id


# Keys


def test_a_key_leads_to_its_account(uri: str) -> None:
    key = open_ledger(uri).add_key("ada")
    assert re.fullmatch("cp_[0-9a-f]+_[0-9a-f]+", key)
    assert open_ledger(uri).account_of(key) == "ada"


def test_several_keys_may_share_an_account(ledger: Ledger) -> None:
    keys = {ledger.add_key("ada") for _ in range(3)}
    assert {ledger.account_of(key) for key in keys} == {"ada"}
    listed = ledger.keys()
    assert [key.account for key in listed] == ["ada"] * 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: "",
        lambda key: key[:-1],
        lambda key: key + "0",
        lambda key: key + "\n",
        lambda key: key.upper(),
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: "cp_00000000_" + key.split("_")[2],
        lambda key: key.split("_")[1],
        lambda key: "cp__",
        lambda key: "\ud800" * 20,
        lambda key: "cp_" + "٣" * 8 + "_" + "٣" * 48,
        lambda key: "x" * 8000,
        lambda key: "' OR 1=1 --",
    ],
)
def test_what_is_not_quite_a_key_leads_nowhere(ledger: Ledger, spoil: Callable[[str], str]) -> None:
    assert ledger.account_of(spoil(ledger.add_key("ada"))) is None


def test_a_revoked_key_is_refused_at_once_everywhere(uri: str, ledger: Ledger) -> None:
    worker = open_ledger(uri)
    kept, lost = worker.add_key("ada"), worker.add_key("ada")
    assert worker.account_of(lost) == "ada"
    ledger.revoke_key(lost.split("_")[1])
    assert worker.account_of(lost) is None
    assert worker.account_of(kept) == "ada"


def test_the_time_of_the_first_revocation_stays(ledger: Ledger) -> None:
    key_id = ledger.add_key("ada").split("_")[1]
    ledger.revoke_key(key_id)
    (before,) = ledger.keys()
    ledger.revoke_key(key_id)
    assert ledger.keys() == (before,)
    assert before.revoked is not None
    assert before.revoked >= before.created


@pytest.mark.parametrize("name", ["nobody", "", "\udcff"])
def test_a_key_that_does_not_exist_cannot_be_revoked(ledger: Ledger, name: str) -> None:
    with pytest.raises(LedgerError, match="no key"):
        ledger.revoke_key(name)


@pytest.mark.parametrize("name", ["", " ada", "ada ", "a\nb", "a\x00b", "x" * 200, "\ud800"])
def test_an_account_needs_a_name_that_can_be_written_down(ledger: Ledger, name: str) -> None:
    with pytest.raises(LedgerError, match="account"):
        ledger.add_key(name)
    assert ledger.keys() == ()


# Accounts


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


# Charges that nobody pays for


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


# Admission


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


# Rests


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


# Settling


def test_what_is_settled_is_spent_with_its_outcome(uri: str, ledger: Ledger) -> None:
    first, second = use("a", "b"), use("c", digest="e")
    admit(ledger, first, second)
    spent = [spending(first, settled=NOW + 0.25, price=11, work=9), spending(second, price=2**53 + 1, rest=5)]
    assert ledger.settle(MODEL, [settlement(*spent)], now=NOW) == [True]
    a, c = Outcome("a+b", "d", NOW + 0.25, 11, 9, 0), Outcome("c", "e", NOW, 2**53 + 1, 8, 5)
    found = open_ledger(uri).standing(MODEL, "ada", ["c", "b", "unknown", "a"])
    assert found == Standing(Account(ONCE, 0, 1), {"a": a, "b": a, "c": c})
    assert open_ledger(uri).standing("letters", "bob", ["a"]) == Standing(NEW_ACCOUNT, {"a": a})


def test_an_id_that_was_used_but_not_spent_has_no_outcome(ledger: Ledger) -> None:
    admit(ledger, use("a"), use("b"))
    assert settle(ledger, spending(use("b")))
    assert list(outcomes(ledger, "a", "b")) == ["b"]


@pytest.mark.parametrize("before", [0, 2, -1, 10**9])
def test_a_settlement_of_another_version_is_not_written(ledger: Ledger, before: int) -> None:
    spend(ledger, use("a"))
    admit(ledger, use("b"))
    lost = settlement(spending(use("b")), before=before, totals=Totals(9, 9, 9), owed=9)
    assert ledger.settle(MODEL, [lost], now=NOW) == [False]
    assert ledger.standing(MODEL, "ada", ["b"]) == Standing(Account(ONCE, 0, 1), {})
    assert admit(ledger, use("b")) == [FRESH]


def test_an_account_never_seen_is_settled_from_version_0_only(ledger: Ledger) -> None:
    assert ledger.settle(MODEL, [settlement(before=1)], now=NOW) == [False]
    assert ledger.account(MODEL, "ada") == NEW_ACCOUNT
    assert ledger.settle(MODEL, [settlement(before=0)], now=NOW) == [True]


def test_a_settlement_with_one_spent_id_is_not_written_at_all(ledger: Ledger) -> None:
    first = spend(ledger, use("a"))
    lost = settlement(spending(use("b")), spending(use("c", "a")), account="bob", totals=Totals(9, 9, 9), owed=9)
    assert ledger.settle(MODEL, [lost], now=NOW) == [False]
    assert ledger.account(MODEL, "bob") == NEW_ACCOUNT
    assert outcomes(ledger, "a", "b", "c") == {"a": first}


def test_a_settlement_that_spends_an_id_twice_is_not_written(ledger: Ledger) -> None:
    for twice in ([spending(use("a")), spending(use("a", "b"))], [spending(use("a", "a"))]):
        assert ledger.settle(MODEL, [settlement(*twice)], now=NOW) == [False]
    assert ledger.standing(MODEL, "ada", ["a", "b"]) == Standing(NEW_ACCOUNT, {})


def test_settlements_of_one_call_stand_or_fall_by_themselves(ledger: Ledger) -> None:
    spend(ledger, use("spent"))
    wanted = [
        settlement(spending(use("a")), account="bob"),
        settlement(spending(use("b")), account="bob"),
        settlement(spending(use("c")), account="bob", before=1, totals=Totals(7, 7, 7)),
        settlement(spending(use("spent")), before=1),
        settlement(spending(use("a")), before=1),
        settlement(spending(use("d")), before=1, owed=4),
    ]
    assert ledger.settle(MODEL, wanted, now=NOW) == [True, False, True, False, False, True]
    assert ledger.account(MODEL, "bob") == Account(Totals(7, 7, 7), 0, 2)
    assert ledger.account(MODEL, "ada") == Account(ONCE, 4, 2)
    assert set(outcomes(ledger, "a", "b", "c", "d")) == {"a", "c", "d"}


def test_of_two_settlements_of_one_solution_the_first_is_written(uri: str, ledger: Ledger) -> None:
    admit(ledger, use("a"), use("a"))
    assert settle(ledger, spending(use("a"), price=1))
    assert not settle(open_ledger(uri), spending(use("a"), price=2))
    assert not settle(open_ledger(uri), spending(use("a"), price=3), account="bob")
    assert outcomes(ledger, "a")["a"].price == 1
    assert ledger.account(MODEL, "ada") == Account(ONCE, 0, 1)
    assert ledger.account(MODEL, "bob") == NEW_ACCOUNT


def test_an_id_is_settled_even_if_its_use_was_lost(ledger: Ledger) -> None:
    assert settle(ledger, spending(use("never admitted")))
    assert admit(ledger, *[use("never admitted")] * 5) == [REPEAT] * 4 + [EXHAUSTED]


def test_a_sum_that_cannot_be_kept_is_refused_and_not_rounded(ledger: Ledger) -> None:
    spend(ledger, use("a"))
    for lost in (settlement(before=1, totals=Totals(2**63, 0, 1)), settlement(before=1, owed=-(2**63) - 1)):
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


# Failures of the victim


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
    found = outcomes(ledger, "a", "b", "c")
    assert set(found) == {"b", "c"}
    assert [(each.digest, each.settled, each.price, each.work, each.rest) for each in found.values()] == [
        ("", NOW + 3600, 0, 0, 0)
    ] * 2
    (name,) = {each.solution for each in found.values()}
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
        assert outcomes(ledger, *[f"c{each}" for each in range(index)]) == {}
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
    ledger.charge(MODEL, {"ada": CHARGE})
    fail(ledger, "a")
    assert set(outcomes(ledger, "a")) == {"a"}
    assert ledger.account(MODEL, "ada") == Account(Totals(10, -4, 2), 0, 2)


def test_a_failure_does_not_change_what_is_settled(ledger: Ledger) -> None:
    outcome = spend(ledger, use("a"))
    fail(ledger, "b", times=10)
    fail(ledger, "a", "c")
    found = outcomes(ledger, "a", "c")
    assert found["a"] == outcome
    assert found["c"].digest == ""
    assert admit_one(ledger, use("a")) == UseResult(REPEAT, outcome)
    fail(ledger, "a", "c")
    assert outcomes(ledger, "a", "c") == found


# What is remembered


def churn(ledger: Ledger, now: float) -> None:
    """Work enough to clear away all that has expired."""
    for index in range(30):
        new = use(f"{now}-{index}", expires=now + 1)
        assert admit(ledger, new, now=now) == [FRESH]
        assert settle(ledger, spending(new, settled=now), account="churn", now=now)


def test_a_spent_id_is_remembered_until_it_expires(ledger: Ledger) -> None:
    outcome = spend(ledger, use("a", "b", expires=NOW + 900))
    churn(ledger, NOW + 899.9)
    assert outcomes(ledger, "a", "b") == {"a": outcome, "b": outcome}
    assert admit(ledger, use("a"), use("a", "b"), now=NOW + 899.9) == [SPENT, SPENT]
    assert not settle(ledger, spending(use("a")), now=NOW + 899.9)
    churn(ledger, NOW + 900)
    assert outcomes(ledger, "a", "b") == {}


def test_a_used_id_is_remembered_until_it_expires(ledger: Ledger) -> None:
    admit(ledger, *[use("a", expires=NOW + 900)] * MOST_USES)
    churn(ledger, NOW + 899.9)
    assert admit(ledger, use("a"), now=NOW + 899.9) == [EXHAUSTED]
    churn(ledger, NOW + 900)
    assert admit(ledger, use("a"), now=NOW + 900) == [FRESH]


@pytest.mark.parametrize("order", [(900, 300, 100), (100, 900, 300), (100, 300, 900)])
def test_the_latest_of_the_expiries_counts(ledger: Ledger, order: tuple[int, int, int]) -> None:
    first, second, last = (use("a", expires=NOW + each) for each in order)
    assert admit(ledger, first, second) == [FRESH, FRESH]
    spent = spending(last)
    assert settle(ledger, spent)
    churn(ledger, NOW + 899)
    assert outcomes(ledger, "a") == {"a": spent.outcome}


def test_an_outcome_is_remembered_as_long_as_the_last_of_its_ids(ledger: Ledger) -> None:
    admit(ledger, use("a", expires=NOW + 900), use("b", expires=NOW + 100))
    both = spending(use("a", "b", expires=NOW + 100))
    assert settle(ledger, both)
    churn(ledger, NOW + 500)
    assert outcomes(ledger, "a", "b") == {"a": both.outcome, "b": both.outcome}


def test_what_a_failure_spends_is_remembered_until_it_expires(ledger: Ledger) -> None:
    fail(ledger, "a", times=11)
    churn(ledger, NOW + 899.9)
    assert set(outcomes(ledger, "a")) == {"a"}
    assert admit(ledger, use("a"), now=NOW + 899.9) == [SPENT]


# URIs


def test_the_uri_is_what_was_given_else_the_environments_else_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALPOW_LEDGER", raising=False)
    assert ledger_uri(None) == DEFAULT_URI
    monkeypatch.setenv("CALPOW_LEDGER", "sqlite:///env.db")
    assert ledger_uri(None) == "sqlite:///env.db"
    assert ledger_uri("sqlite:///given.db") == "sqlite:///given.db"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "ledger.db",
        "/tmp/ledger.db",
        "postgres://host/db",
        "sqlite://",
        "sqlite:///",
        "sqlite://ledger.db",
        "sqlite:///folder/",
        "sqlite:///:memory:",
        "sqlite:///~nobody-of-this-name/ledger.db",
    ],
)
def test_a_uri_that_names_no_ledger_is_refused_in_one_line(uri: str) -> None:
    with pytest.raises(LedgerError, match="sqlite:///") as caught:
        open_ledger(uri)
    assert "\n" not in str(caught.value)
