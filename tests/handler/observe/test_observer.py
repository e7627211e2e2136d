"""The observer releases every answer, accounts for those that were priced, and refuses only what is no answer."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.gate import problems
from calpow.handler.gate.audit import AuditFile
from calpow.handler.gate.interface import PassResult, Purpose, Refused, Released
from calpow.handler.identity.identification import Identification
from calpow.handler.identity.token_verifier import TokenVerifier
from calpow.handler.identity.ways import IdentityWay
from calpow.handler.ledger.account import NEW_ACCOUNT
from calpow.handler.ledger.history import NO_HISTORY
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.observe.observer import Observer
from calpow.handler.policy.tariff import Tariff
from tests.support.calibrations import calibrated_policy, charge_of
from tests.support.gate_harness import HookedLedger
from tests.support.identity_provider import Provider
from tests.support.text_runner import TextRequest, TextRunner

MODEL = "digits"


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


@pytest.fixture
def observer(uri: str, records: Path) -> Observer:
    return Observer(MODEL, open_ledger(uri), calibrated_policy(), records)


def request(key: str | None, text: str, purpose: Purpose = Purpose.predict) -> TextRequest:
    return TextRequest(key, None, 1, purpose, text, lambda: "digest")


def test_every_answer_is_released_and_what_was_priced_is_charged_and_recorded(
    observer: Observer, uri: str, records: Path
) -> None:
    ledger = open_ledger(uri)
    key = ledger.add_key("ada")
    requests = [request(key, "1.0 2.0"), request(None, "1.5"), request(key, "?"), request(key, "!"), request(key, "*")]
    decisions = observer.answer(requests, TextRunner().run)
    assert [decision.answer for decision in decisions if isinstance(decision, Released)] == [
        *("answer to 1.0 2.0", "answer to 1.5", None, "failure on !", "answer to *")
    ]
    assert observer.flush(10.0)
    assert ledger.account(MODEL, "ada").history.queries == 2
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    assert [(line["account"], line["costs"]) for line in lines] == [("ada", [[1.0], [2.0]]), ("", [[1.5]])]


def test_tokens_and_nobody_are_accounted_for_as_the_owner_allows(uri: str, records: Path, tmp_path: Path) -> None:
    provider = Provider(tmp_path)
    provider.add("first")
    allowed = Identification((IdentityWay.jwt, IdentityWay.anonymous), TokenVerifier(provider.settings()))
    observer = Observer(MODEL, open_ledger(uri), calibrated_policy(), records, identification=allowed)
    tokens = [provider.token(sub="ada"), None, provider.unsigned()]
    requests = [replace(request(None, f"1.{number}"), token=token) for number, token in enumerate(tokens)]
    assert all(isinstance(decision, Released) for decision in observer.answer(requests, TextRunner().run))
    assert observer.flush(10.0)
    lines = [json.loads(line)["account"] for line in records.read_text().splitlines()]
    assert lines == ["jwt:ada", "anonymous", ""]
    ledger = open_ledger(uri)
    assert [ledger.account(MODEL, name).history.queries for name in ("jwt:ada", "anonymous")] == [1, 1]


def test_a_repeated_sample_is_recorded_and_not_charged_again(observer: Observer, uri: str, records: Path) -> None:
    ledger = open_ledger(uri)
    key = ledger.add_key("ada")
    observer.answer([request(key, "1.5#it 1.5#it"), request(key, "1.5#it")], TextRunner().run)
    assert observer.flush(10.0)
    history = ledger.account(MODEL, "ada").history
    assert (history.queries, history.cost_micro) == (1, 1_500_000)
    assert len(records.read_text().splitlines()) == 2


def test_what_cannot_be_charged_is_charged_later_in_the_order_in_which_it_was_answered(uri: str, records: Path) -> None:
    down = [True]

    def fail(name: str) -> None:
        if name == "charge" and down[0]:
            raise LedgerUnavailable("the ledger is down")

    ledger = open_ledger(uri)
    key = ledger.add_key("ada")
    policy = calibrated_policy()
    observer = Observer(MODEL, cast(Ledger, HookedLedger(ledger, fail)), policy, records)
    texts = ["2.5#odd", "1.0#plain", "2.5#other", "1.0#last"]
    for text in texts:
        assert ledger.account(MODEL, "ada").version == 0
        down[0] = text != texts[-1]
        observer.answer([request(key, text)], TextRunner().run)
        assert observer.flush(10.0)
    expected = NO_HISTORY
    for text in texts:
        expected = policy.evidence.after(expected, charge_of(policy, float(text[:3]), text))
    account = ledger.account(MODEL, "ada")
    # What was tried before is charged by itself: it may have been charged.
    assert (account.history, account.version) == (expected, 2)


def test_the_audit_says_what_answers_would_have_cost_once_they_are_charged(
    uri: str, records: Path, tmp_path: Path
) -> None:
    down = [True]

    def fail(name: str) -> None:
        if name == "charge" and down[0]:
            raise LedgerUnavailable("the ledger is down")

    ledger, policy, file = open_ledger(uri), calibrated_policy(), tmp_path / "audit.jsonl"
    key, audit = ledger.add_key("ada"), AuditFile(file)
    observer = Observer(MODEL, cast(Ledger, HookedLedger(ledger, fail)), policy, records, audit=audit)
    account, expected = NEW_ACCOUNT, []
    for number, text in enumerate(("1.0#a", "2.5#odd 2.5#odder", "1.0#b", "1.0#a")):
        down[0] = number == 0
        observer.answer([replace(request(key, text), id=f"request-{number}"), request(None, text)], TextRunner().run)
        assert observer.flush(10.0)
        assert audit.flush(10.0)
        assert file.read_text().count("\n") == (0 if down[0] else number + 1)
        charges = [charge_of(policy, float(word[:3]), word) for word in text.split()]
        account, price = Tariff(policy).price(account, charges, 1.0)
        expected.append((f"request-{number}", "ada", "observed", len(charges), price, 0, None))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    members = ("request", "account", "event", "samples", "price", "work", "problem")
    assert [tuple(line[member] for member in members) for line in lines] == expected
    assert expected[1][4] > 2 * expected[0][4], "odd samples would have cost more"
    assert key not in file.read_text()


def test_of_what_cannot_be_charged_no_more_is_kept_than_fits(
    uri: str, records: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("calpow.handler.observe.observer.MOST_UNCHARGED", 3)
    down = [True]

    def fail(name: str) -> None:
        if name == "charge" and down[0]:
            raise LedgerUnavailable("the ledger is down")

    ledger = open_ledger(uri)
    key = ledger.add_key("ada")
    observer = Observer(MODEL, cast(Ledger, HookedLedger(ledger, fail)), calibrated_policy(), records)
    for number in range(5):
        down[0] = number < 4
        observer.answer([request(key, f"1.0#{number}")], TextRunner().run)
        assert observer.flush(10.0)
    assert ledger.account(MODEL, "ada").history.queries == 3
    assert "3 samples are still to be charged" in caplog.text


def test_queries_of_nobody_leave_the_room_for_those_that_are_charged(
    uri: str, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calpow.handler.observe.observer.MOST_UNCHARGED", 3)
    ledger = open_ledger(uri)
    key = ledger.add_key("ada")
    observer = Observer(MODEL, ledger, calibrated_policy(), records)
    text = "1.0#a 1.0#b 1.0#c 1.0#d"
    observer.answer([request(None, text), request(None, text), request(key, "1.0#e")], TextRunner().run)
    assert observer.flush(10.0)
    assert ledger.account(MODEL, "ada").history.queries == 1


def test_a_description_that_calls_the_model_is_refused(observer: Observer) -> None:
    def describe(requests: Sequence[TextRequest]) -> list[PassResult[None]]:
        return [PassResult(None, None, problems.bad_payload("a description takes no input")) for _ in requests]

    (decision,) = observer.answer([request(None, "", Purpose.describe)], describe)
    assert isinstance(decision, Refused)
    assert decision.problem.type == "bad-payload"
