"""What every ledger promises: one suite for all backends (see `tests/ledger_backends.py`)."""

import re
from collections.abc import Callable

import pytest

from calpow.handler.ledger import DEFAULT_URI, ledger_uri, open_ledger
from calpow.handler.ledger.base import (
    Charge,
    Ledger,
    LedgerError,
    OpenChallenge,
    Payment,
    QuoteRequest,
    Standing,
    TooManyOpen,
    Totals,
)
from tests.ledgers import MODEL, NO_CREDIT, NOW, opened, quote, want

pytest_plugins = ["tests.ledger_backends"]


@pytest.fixture
def ledger(uri: str) -> Ledger:
    return open_ledger(uri)


def holds(ledger: Ledger, name: str, now: float = NOW) -> bool:
    return ledger.redeem([name], now=now, holder="w") == {name}


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


# Charges


def test_an_account_never_seen_has_run_up_nothing(ledger: Ledger) -> None:
    assert ledger.totals(MODEL, "ada") == Totals(0, 0, 0)


def test_charges_add_up_exactly(ledger: Ledger) -> None:
    large = 2**53 + 1
    quote(ledger, want("a", charge=Charge(large, -large, 7)), want("b", charge=Charge(1, -1, 1)))
    quote(ledger, want("c", charge=Charge(1, 2, 1)))
    assert ledger.totals(MODEL, "ada") == Totals(large + 2, 1 - large, 9)


def test_accounts_and_models_are_kept_apart(ledger: Ledger) -> None:
    quote(ledger, want(account="ada"), want(account="bob"))
    quote(ledger, want(account="bob"), model="letters")
    once = Totals(5, -2, 1)
    assert [ledger.totals(MODEL, "ada"), ledger.totals(MODEL, "bob")] == [once, once]
    assert [ledger.totals("letters", "ada"), ledger.totals("letters", "bob")] == [Totals(0, 0, 0), once]


def test_a_challenge_is_drafted_from_the_totals_after_its_charge(ledger: Ledger) -> None:
    seen: list[Totals] = []
    quote(ledger, want("a", seen=seen), want("b", seen=seen), want("x", seen=seen, account="bob"))
    assert seen == [Totals(5, -2, 1), Totals(10, -4, 2), Totals(5, -2, 1)]


def test_the_same_payload_is_charged_once_while_its_challenge_is_open(uri: str, ledger: Ledger) -> None:
    (first,) = quote(ledger, want("a"))
    (again,) = quote(open_ledger(uri), want("a"), now=NOW + 59)
    assert (first.charged, again.charged) == (True, False)
    assert again.challenge == first.challenge
    assert ledger.totals(MODEL, "ada").queries == 1


def test_the_same_payload_is_charged_once_within_a_batch(ledger: Ledger) -> None:
    first, other, again = quote(ledger, want("a"), want("b"), want("a"))
    assert [first.charged, other.charged, again.charged] == [True, True, False]
    assert again.challenge == first.challenge != other.challenge


def test_the_same_payload_of_another_account_or_model_is_another_query(ledger: Ledger) -> None:
    quote(ledger, want("a"))
    assert quote(ledger, want("a", account="bob"))[0].charged
    assert quote(ledger, want("a"), model="letters")[0].charged


@pytest.mark.parametrize("later", [60.0, 61.0])
def test_a_payload_is_charged_again_when_its_challenge_has_expired(ledger: Ledger, later: float) -> None:
    (first,) = quote(ledger, want("a"))
    (second,) = quote(ledger, want("a", expires=NOW + 200), now=NOW + later)
    assert second.charged
    assert second.challenge != first.challenge


def test_a_payload_is_charged_again_when_its_challenge_was_redeemed(ledger: Ledger) -> None:
    assert holds(ledger, opened(ledger, "a"))
    assert quote(ledger, want("a"))[0].charged


def test_nothing_of_a_batch_is_charged_when_a_draft_fails(ledger: Ledger) -> None:
    def fail(totals: Totals) -> OpenChallenge:
        raise RuntimeError("no more ink")

    with pytest.raises(RuntimeError, match="no more ink"):
        quote(ledger, want("a"), QuoteRequest("ada", "b", Charge(1, 1, 1), NO_CREDIT, fail))
    assert ledger.totals(MODEL, "ada") == Totals(0, 0, 0)
    assert ledger.standing(MODEL, "ada", "a", NOW) == Standing(None, 0, None)
    assert quote(ledger, want("a"))[0].charged


def test_an_empty_batch_is_nothing(ledger: Ledger) -> None:
    assert ledger.quote(MODEL, [], now=NOW, max_open=1) == []
    assert ledger.redeem([], now=NOW, holder="w") == frozenset()
    ledger.settle([])
    ledger.undo([])


def test_a_sum_that_cannot_be_kept_is_refused_and_not_rounded(ledger: Ledger) -> None:
    quote(ledger, want("a", charge=Charge(2**62, 0, 1)))
    with pytest.raises(LedgerError):
        quote(ledger, want("b", charge=Charge(2**63, 0, 1)))
    assert ledger.totals(MODEL, "ada") == Totals(2**62, 0, 1)
    assert quote(ledger, want("c"))[0].charged


# Charges that nobody pays for


def test_what_was_observed_adds_up_exactly_with_what_was_quoted(ledger: Ledger) -> None:
    large = 2**53 + 1
    ledger.charge(MODEL, {"ada": Charge(large, -large, 7), "bob": Charge(1, 2, 1)})
    quote(ledger, want("a", charge=Charge(1, -1, 1)))
    ledger.charge(MODEL, {"ada": Charge(0, -5, 2)})
    assert ledger.totals(MODEL, "ada") == Totals(large + 1, -large - 6, 10)
    assert ledger.totals(MODEL, "bob") == Totals(1, 2, 1)
    assert ledger.totals("letters", "ada") == Totals(0, 0, 0)
    ledger.charge(MODEL, {})


def test_a_challenge_counts_what_was_observed_before(uri: str, ledger: Ledger) -> None:
    ledger.charge(MODEL, {"ada": Charge(10, 20, 30)})
    seen: list[Totals] = []
    quote(open_ledger(uri), want("a", seen=seen))
    assert seen == [Totals(15, 18, 31)]


def test_nothing_of_a_charge_is_booked_when_one_sum_cannot_be_kept(ledger: Ledger) -> None:
    ledger.charge(MODEL, {"ada": Charge(2**62, 0, 1)})
    with pytest.raises(LedgerError):
        ledger.charge(MODEL, {"bob": Charge(1, 1, 1), "ada": Charge(2**63 - 1, 0, 1)})
    assert ledger.totals(MODEL, "bob") == Totals(0, 0, 0)
    assert ledger.totals(MODEL, "ada") == Totals(2**62, 0, 1)


# Too many open


def test_open_challenges_are_bounded_and_what_is_beyond_is_not_charged(ledger: Ledger) -> None:
    requests = [want("a", expires=NOW + 90), want("b", expires=NOW + 70), want("c"), want("a")]
    results = ledger.quote(MODEL, requests, now=NOW, max_open=2)
    assert [isinstance(each, TooManyOpen) for each in results] == [False, False, True, False]
    assert results[2] == TooManyOpen(retry_after=70.0)
    assert ledger.totals(MODEL, "ada").queries == 2


def test_who_waits_as_told_may_ask_again(ledger: Ledger) -> None:
    ledger.quote(MODEL, [want("a", expires=NOW + 70)], now=NOW, max_open=1)
    (refused,) = ledger.quote(MODEL, [want("b")], now=NOW + 30, max_open=1)
    assert isinstance(refused, TooManyOpen)
    later = NOW + 30 + refused.retry_after
    (quoted,) = ledger.quote(MODEL, [want("b", expires=later + 60)], now=later, max_open=1)
    assert not isinstance(quoted, TooManyOpen)


def test_redeeming_makes_room(ledger: Ledger) -> None:
    holds(ledger, opened(ledger, "a"))
    assert not isinstance(ledger.quote(MODEL, [want("b")], now=NOW, max_open=1)[0], TooManyOpen)


def test_one_account_does_not_fill_the_room_of_another(ledger: Ledger) -> None:
    opened(ledger, "a")
    (other,) = ledger.quote(MODEL, [want("a", account="bob")], now=NOW, max_open=1)
    assert not isinstance(other, TooManyOpen)


# Standing


def test_the_standing_shows_what_is_open(ledger: Ledger) -> None:
    assert ledger.standing(MODEL, "ada", "a", NOW) == Standing(None, 0, None)
    (first, _) = quote(ledger, want("a", expires=NOW + 80), want("b", expires=NOW + 70))
    assert ledger.standing(MODEL, "ada", "a", NOW) == Standing(first.challenge, 2, NOW + 70)
    assert ledger.standing(MODEL, "ada", "c", NOW) == Standing(None, 2, NOW + 70)
    assert ledger.standing(MODEL, "ada", "a", NOW + 70) == Standing(first.challenge, 1, NOW + 80)
    assert ledger.standing(MODEL, "ada", "a", NOW + 80) == Standing(None, 0, None)
    assert ledger.standing("letters", "ada", "a", NOW) == Standing(None, 0, None)


def test_looking_at_the_standing_changes_nothing(ledger: Ledger) -> None:
    name = opened(ledger, "a")
    for _ in range(3):
        ledger.standing(MODEL, "ada", "a", NOW + 1000)
    assert ledger.totals(MODEL, "ada").queries == 1
    assert holds(ledger, name)


# Redeeming


def test_a_challenge_is_redeemed_once(uri: str, ledger: Ledger) -> None:
    name = opened(ledger)
    assert open_ledger(uri).redeem([name], now=NOW, holder="v") == {name}
    assert not holds(ledger, name)
    assert ledger.standing(MODEL, "ada", "d", NOW).challenge is None


def test_of_many_those_are_redeemed_that_are_open(ledger: Ledger) -> None:
    first, second, gone = opened(ledger, "a"), opened(ledger, "b"), opened(ledger, "c", expires=NOW + 1)
    holds(ledger, second)
    wanted = [first, second, gone, "unknown", first]
    assert ledger.redeem(wanted, now=NOW + 1, holder="w") == {first}


@pytest.mark.parametrize("later", [60.0, 60.001, 1e6])
def test_an_expired_challenge_cannot_be_redeemed(ledger: Ledger, later: float) -> None:
    name = opened(ledger)
    assert not holds(ledger, name, NOW + later)


def test_a_settled_challenge_is_spent_for_good(ledger: Ledger) -> None:
    name = opened(ledger)
    holds(ledger, name)
    ledger.settle([name])
    ledger.undo([name])
    assert ledger.recover(lambda holder: False) == 0
    assert not holds(ledger, name)
    assert ledger.standing(MODEL, "ada", "d", NOW) == Standing(None, 0, None)


def test_an_undone_challenge_can_be_redeemed_again_once(ledger: Ledger) -> None:
    (quoted,) = quote(ledger, want())
    name = quoted.challenge.id
    holds(ledger, name)
    ledger.undo([name])
    assert ledger.standing(MODEL, "ada", "d", NOW).challenge == quoted.challenge
    assert ledger.totals(MODEL, "ada").queries == 1
    assert holds(ledger, name)
    assert not holds(ledger, name)


def test_what_is_not_held_cannot_be_settled(ledger: Ledger) -> None:
    name = opened(ledger)
    ledger.settle([name, "unknown"])
    assert holds(ledger, name)


def test_of_two_challenges_for_one_payload_the_one_that_lasts_longer_is_shown(ledger: Ledger) -> None:
    first = opened(ledger, expires=NOW + 60)
    holds(ledger, first)
    (second,) = quote(ledger, want(expires=NOW + 90))
    ledger.undo([first])
    assert ledger.standing(MODEL, "ada", "d", NOW) == Standing(second.challenge, 2, NOW + 60)
    assert quote(ledger, want())[0].challenge == second.challenge


def test_a_dead_holders_challenges_are_open_again_and_only_those(ledger: Ledger) -> None:
    names = [opened(ledger, digest) for digest in "abcd"]
    ledger.redeem(names[:2], now=NOW, holder="dead")
    ledger.redeem(names[2:3], now=NOW, holder="alive")
    ledger.settle(names[:1])
    assert ledger.recover(lambda holder: holder == "alive") == 1
    assert ledger.recover(lambda holder: holder == "alive") == 0
    assert ledger.redeem(names, now=NOW, holder="w") == {names[1], names[3]}


def test_an_expired_challenge_is_never_open_again_however_many_come_after(ledger: Ledger) -> None:
    spent, left = opened(ledger, "a"), opened(ledger, "b")
    holds(ledger, spent)
    ledger.settle([spent])
    later = NOW + 120
    for index in range(10):
        quote(ledger, want(f"later{index}", expires=later + 60), now=later)
    assert ledger.redeem([spent, left], now=later, holder="w") == frozenset()
    assert ledger.redeem([spent, left], now=NOW, holder="w") <= {left}, "not even if the clock is set back"


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


def payment(*stamps: str, hashes: int = 10, stale_at: float = NOW + 600, holder: str = "me") -> Payment:
    """Stamps that were verified."""
    return Payment(stamps, hashes, stale_at, holder)


def test_a_payment_that_is_enough_redeems_the_challenge_it_comes_with(ledger: Ledger) -> None:
    (paid,) = quote(ledger, want(hashes=10, payment=payment("s1", "s2")))
    assert (paid.charged, paid.paid) == (True, True)
    assert ledger.redeem([paid.challenge.id], now=NOW, holder="other") == frozenset()
    assert ledger.totals(MODEL, "ada").queries == 1


def test_a_payment_that_is_too_little_spends_nothing_and_leaves_the_challenge_open(ledger: Ledger) -> None:
    (short,) = quote(ledger, want(hashes=11, payment=payment("s1")))
    assert not short.paid
    assert not ledger.pay(short.challenge, payment("s1"), now=NOW)
    assert ledger.pay(short.challenge, payment("s1", hashes=11), now=NOW)


def test_a_prepaid_stamp_is_spent_on_one_challenge(ledger: Ledger) -> None:
    first, second = quote(ledger, want("a", payment=payment("s1")), want("b", payment=payment("s2", "s1")))
    assert (first.paid, second.paid) == (True, False)
    assert ledger.pay(second.challenge, payment("s2"), now=NOW), "the good stamp of a refused payment is not spent"


def test_a_payment_is_good_again_for_its_own_challenge_after_an_undo(ledger: Ledger) -> None:
    (paid,) = quote(ledger, want(payment=payment("s1")))
    ledger.undo([paid.challenge.id])
    assert ledger.pay(paid.challenge, payment("s1"), now=NOW)
    ledger.settle([paid.challenge.id])
    assert not ledger.pay(paid.challenge, payment("s1"), now=NOW)


def test_stale_stamps_and_expired_challenges_pay_nothing(ledger: Ledger) -> None:
    (open_,) = quote(ledger, want(expires=NOW + 60))
    assert not ledger.pay(open_.challenge, payment("s1", stale_at=NOW), now=NOW)
    assert not ledger.pay(open_.challenge, payment("s1"), now=NOW + 60)


def test_what_a_dead_holder_was_paid_for_is_open_again(ledger: Ledger) -> None:
    (paid,) = quote(ledger, want(payment=payment("s1", holder="dead")))
    assert ledger.recover(lambda holder: False) == 1
    assert ledger.pay(paid.challenge, payment("s1"), now=NOW)


def test_a_spent_stamp_is_remembered_while_a_worker_that_verified_it_earlier_may_still_pay(ledger: Ledger) -> None:
    quote(ledger, want("a", payment=payment("s1", stale_at=NOW + 1)))
    (second,) = quote(ledger, want("b", payment=payment("s2", stale_at=NOW + 700)), now=NOW + 2)
    (third,) = quote(ledger, want("c", expires=NOW + 900), now=NOW + 2)
    assert second.paid
    assert not ledger.pay(third.challenge, payment("s1", "s3", stale_at=NOW + 1), now=NOW + 2), "stale by then"
    assert not ledger.pay(third.challenge, payment("s1", "s3", stale_at=NOW + 600), now=NOW + 2), "spent, not forgotten"


def test_a_credit_is_booked_when_its_challenge_is_settled_once_and_not_before(ledger: Ledger) -> None:
    (quoted,) = quote(ledger, want(charge=Charge(5, 0, 0), credit=Charge(0, -3, 1)))
    ids = [quoted.challenge.id]
    assert ledger.totals(MODEL, "ada") == Totals(5, 0, 0)
    ledger.settle(ids)
    assert ledger.totals(MODEL, "ada") == Totals(5, 0, 0), "nobody has redeemed it"
    ledger.redeem(ids, now=NOW, holder="me")
    ledger.undo(ids)
    ledger.redeem(ids, now=NOW, holder="me")
    assert ledger.totals(MODEL, "ada") == Totals(5, 0, 0)
    ledger.settle(ids)
    ledger.settle(ids)
    assert ledger.totals(MODEL, "ada") == Totals(5, -3, 1)
