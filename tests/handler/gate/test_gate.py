"""The gate as a whole: every request is decided on by itself, and every refusal is explained in the log."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.gate import entry_check, settler
from calpow.handler.gate.challenges import Solved, is_solved
from calpow.handler.gate.interface import Allowance, PassResult, Purpose
from calpow.handler.gate.problems import bad_payload
from calpow.handler.gate.settling import Settled, settle
from tests.support.gate_harness import (
    GateHarness,
    TextDecision,
    claim_work,
    decision_type,
    payload_of,
    prepay,
    problem_of,
    released,
)
from tests.support.text_runner import TextRequest

SPOILED = "1.7"


class Bug(Exception):
    """An exception that nothing expects."""


def batch_of_three(harness: GateHarness, solutions: Sequence[str]) -> list[TextRequest]:
    return [harness.request(text, paid) for text, paid in zip(("1.0", SPOILED, "1.1"), solutions, strict=True)]


def assert_spoils_itself_alone(harness: GateHarness, decisions: Sequence[TextDecision]) -> None:
    assert [decision_type(decision) for decision in decisions] == ["answered", "pricing-unavailable", "answered"]
    problem = problem_of(decisions[1])
    assert (problem.status, problem.headers["Retry-After"]) == (503, "5")
    assert harness.account().history.queries == 2


@pytest.fixture
def solutions(harness: GateHarness) -> list[str]:
    return [harness.pay("1.0") for _ in range(3)]


def test_a_request_whose_reading_fails_spoils_itself_alone(harness: GateHarness, solutions: list[str]) -> None:
    def fail() -> str:
        raise Bug

    requests = batch_of_three(harness, solutions)
    requests[1] = TextRequest(harness.key, solutions[1], 1, Purpose.predict, SPOILED, fail)
    assert_spoils_itself_alone(harness, harness.batch(*requests))
    released(harness.ask("1.0", solutions[1]))


def test_a_request_whose_check_fails_spoils_itself_alone(
    harness: GateHarness, solutions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = is_solved
    checked: list[object] = []

    def fail_second(solved: Solved) -> bool:
        checked.append(solved)
        if len(checked) == 2:
            raise Bug
        return verify(solved)

    monkeypatch.setattr(entry_check, "is_solved", fail_second)
    assert_spoils_itself_alone(harness, harness.batch(*batch_of_three(harness, solutions)))
    released(harness.ask("1.0", solutions[1]))


def test_a_request_whose_pricing_fails_spoils_itself_alone(harness: GateHarness, solutions: list[str]) -> None:
    requests = batch_of_three(harness, solutions)
    requests[1] = harness.request("~", solutions[1])
    assert_spoils_itself_alone(harness, harness.batch(*requests))
    released(harness.ask("1.0", solutions[1]))


def test_a_request_whose_settling_fails_spoils_itself_alone(
    harness: GateHarness, solutions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    count: list[int] = []

    def fail_second(*arguments: object) -> Settled:
        count.append(1)
        if len(count) == 2:
            raise Bug
        return settle(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(settler, "settle", fail_second)
    assert_spoils_itself_alone(harness, harness.batch(*batch_of_three(harness, solutions)))
    released(harness.ask("1.0", solutions[1]))


def test_a_batch_takes_as_many_ledger_calls_as_one_request(harness: GateHarness, solutions: list[str]) -> None:
    """One read and two writes."""
    calls: list[str] = []
    gate = harness.hooked_worker(calls.append)
    gate.answer([harness.request("1.0", prepay(harness, 1000))], harness.runner.run)
    calls.clear()
    decisions = gate.answer(batch_of_three(harness, solutions), harness.runner.run)
    assert [decision_type(decision) for decision in decisions] == ["answered"] * 3
    calls = [call for call in calls if call not in ("secrets", "deployment")]
    assert calls == ["holders", "admit", "settle"]


def test_a_description_is_free_for_everyone_with_a_key(harness: GateHarness) -> None:
    def describe(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        return [PassResult("four numbers in", None) for _ in requests]

    before = harness.rows()
    requests = [
        TextRequest(key, None, 1, Purpose.describe, "", lambda: "")
        for key in (harness.key, "", "cp_00000000_" + "0" * 48)
    ]
    decisions = harness.gate.answer(requests, describe)
    assert released(decisions[0]).next_hashes is None
    assert [decision_type(decision) for decision in decisions] == [
        *("answered", "identity-missing", "identity-unknown")
    ]
    assert harness.rows() == before


def test_a_description_that_calls_the_model_is_refused(harness: GateHarness) -> None:
    def describe(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        return [PassResult(None, None, bad_payload("a description takes no input")) for _ in requests]

    request = TextRequest(harness.key, None, 1, Purpose.describe, "", lambda: "")
    assert decision_type(harness.gate.answer([request], describe)[0]) == "bad-payload"


# ---- The log --------------------------------------------------------------------------------------------------------


def refuse_in_every_way(harness: GateHarness, directory: Path) -> list[TextDecision]:
    """Return refusals of every type that the gate has."""
    paid, dear, little = harness.pay("1.0"), harness.pay("1.0"), prepay(harness, 500)
    bob = harness.ledger.add_key("bob")
    wrong = claim_work(harness.challenge("1.0"))
    old = prepay(harness, 2000, at=harness.now - 601)
    silent = GateHarness(directory / "silent.db", allowance=Allowance(256, 0.0))
    released(harness.ask("1.0", paid))
    return [
        harness.ask("1.5"),
        harness.ask("1.5", key=""),
        harness.ask("1.5", key="cp_00000000_" + "0" * 48),
        harness.ask("1.5", "garbage"),
        harness.ask("1.5", wrong),
        harness.ask("1.5", little),
        harness.ask("1.5", old),
        harness.ask("1.5", paid),
        harness.ask("1.5", paid, bob),
        harness.ask(payload_of(257)),
        harness.ask(payload_of(4), dear, counted=False),
        harness.ask("?", harness.pay("1.0")),
        harness.ask("*", harness.pay("1.0")),
        harness.ask("~", harness.pay("1.0")),
        silent.ask("1.5", explains=True),
        harness.ask("1.5", gate=harness.hooked_worker(unavailable)),
    ]


def unavailable(name: str) -> None:
    raise LedgerUnavailable("the ledger is down")


def test_every_refusal_logs_its_private_reason_beside_the_public_one(
    harness: GateHarness, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "calpow.handler.gate"):
        decisions = refuse_in_every_way(harness, tmp_path)
    problems = [problem_of(decision) for decision in decisions]
    records = [record for record in caplog.records if record.levelno == logging.DEBUG]
    lines = [record.getMessage() for record in records if "refused with" in record.getMessage()]
    refused_types = [problem.type for problem in problems]
    logged = [line.split("refused with ")[1].split(": ")[0] for line in lines]
    assert [kind for kind in logged if kind != "pow-required"] == [
        kind for kind in refused_types if kind != "pow-required"
    ]
    assert len(set(refused_types)) >= 13
    for line in lines:
        reason = line.split(": ", 2)[2]
        assert reason
        assert reason not in {problem.detail for problem in problems}


def test_the_log_holds_no_key_payload_stamp_or_token(
    harness: GateHarness, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        decisions = refuse_in_every_way(harness, tmp_path)
        for spoiled in ("prepaid 1:20:270115080000:secret-text::x:0", "secret-text x", "prepaid secret-text"):
            decisions.append(harness.ask("1.5", spoiled))
    text = caplog.text
    assert harness.key not in text
    assert "cp_" not in text
    assert "secret-text" not in text
    assert "1.5" not in text
    assert not re.search(r"\b1:\d+:\d{6}", text), "a stamp"
    for decision in decisions:
        challenge = problem_of(decision).challenge
        assert challenge is None or challenge.token not in text


def test_answers_log_nothing(harness: GateHarness, caplog: pytest.LogCaptureFixture) -> None:
    paid = harness.pay("1.0")
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        released(harness.ask("1.0", paid))
    assert caplog.records == []
