"""While something is broken, nothing is answered and nothing is lost; afterwards everything works again."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.gate.interface import PassResult, PricedSamples, Purpose
from calpow.handler.ledger.solutions import MOST_USES
from tests.support.calibrations import identity
from tests.support.gate_harness import (
    GateHarness,
    TextDecision,
    decision_type,
    payload_of,
    prepay,
    problem_of,
    released,
    rest_challenge,
    solution,
)
from tests.support.text_runner import TextRequest

STEPS = ("holders", "admit", "settle")


@contextmanager
def ledger_away(folder: Path) -> Iterator[None]:
    """Context manager that moves the ledger's files away, and puts a folder in their place."""
    away = folder / "away"
    away.mkdir()
    for file in folder.glob("ledger.db*"):
        os.rename(file, away / file.name)
    (folder / "ledger.db").mkdir()
    yield
    (folder / "ledger.db").rmdir()
    for file in away.iterdir():
        os.rename(file, folder / file.name)


def broken(step: str) -> Callable[[str], None]:
    """Return a hook that makes one method of a ledger fail."""

    def break_down(name: str) -> None:
        if name == step:
            raise LedgerUnavailable("the ledger is down")

    return break_down


def assert_unavailable(decision: TextDecision, expected: str = "ledger-unavailable") -> None:
    problem = problem_of(decision)
    assert (problem.status, problem.type, problem.challenge) == (503, expected, None)
    assert problem.headers["Retry-After"] == "5"


def test_without_a_ledger_nothing_is_answered_and_with_it_everything_works_again(
    harness: GateHarness, tmp_path: Path
) -> None:
    paid, prepaid = harness.pay("1.0"), prepay(harness, 1000)
    with ledger_away(tmp_path):
        for sent in (paid, prepaid, None):
            assert_unavailable(harness.ask("1.0", sent))
    assert harness.pass_count == 0
    released(harness.ask("1.0", paid))
    released(harness.ask("1.1", prepaid))


def test_a_gate_that_starts_without_a_ledger_works_when_there_is_one(harness: GateHarness, tmp_path: Path) -> None:
    paid = harness.pay("1.0")
    with ledger_away(tmp_path):
        gate = harness.worker()
        assert_unavailable(harness.ask("1.0", paid, gate=gate))
    released(harness.ask("1.0", paid, gate=gate))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("prepaid", [False, True])
def test_a_ledger_that_breaks_down_at_any_step_sells_nothing_and_loses_nothing(
    harness: GateHarness, step: str, prepaid: bool
) -> None:
    paid = prepay(harness, 1000) if prepaid else harness.pay("1.0")
    for _ in range(MOST_USES - 1):
        assert_unavailable(harness.ask("1.0", paid, gate=harness.hooked_worker(broken(step))))
    assert harness.account().version == 0
    assert harness.pass_count == (MOST_USES - 1 if step == "settle" else 0)
    assert [row for row in harness.rows() if row[0] in ("accounts", "outcomes")] == []
    released(harness.ask("1.0", paid))
    assert harness.account().history.queries == 1


@pytest.mark.parametrize("text", ["?", "!"])
def test_a_failure_that_cannot_be_counted_is_not_told(harness: GateHarness, text: str) -> None:
    paid = harness.pay("1.0")
    assert_unavailable(harness.ask(text, paid, gate=harness.hooked_worker(broken("fail"))))
    released(harness.ask("1.0", paid))


@pytest.mark.parametrize("step", ["holders", "admit", "account"])
def test_a_retry_while_the_ledger_is_down_can_be_made_again(harness: GateHarness, step: str) -> None:
    paid = harness.pay("1.0")
    released(harness.ask("1.0", paid))
    assert_unavailable(harness.ask("1.0", paid, gate=harness.hooked_worker(broken(step))))
    released(harness.ask("1.0", paid))


@pytest.mark.parametrize("step", ["holders", "admit", "settle"])
def test_a_withheld_answer_that_cannot_be_collected_now_can_be_later(harness: GateHarness, step: str) -> None:
    paid = solution(rest_challenge(harness.ask(payload_of(4), harness.pay("1.0"), counted=False)))
    assert_unavailable(harness.ask(payload_of(4), paid, counted=False, gate=harness.hooked_worker(broken(step))))
    released(harness.ask(payload_of(4), paid, counted=False))


def test_a_ledger_that_breaks_down_between_two_attempts_keeps_what_was_settled(harness: GateHarness) -> None:
    """Bob's account changes during the pass, ada's does not: her answer is settled and leaves, his is not."""
    bob = harness.ledger.add_key("bob")
    paid = [harness.pay("1.0"), harness.pay("1.0", bob)]
    calls: list[str] = []

    def break_down(name: str) -> None:
        calls.append(name)
        if name == "settle":
            harness.ask("1.1", harness.pay("1.0", bob), bob)
        if name == "standing" and "settle" in calls:
            raise LedgerUnavailable("the ledger is down")

    requests = [harness.request("1.0", paid[0]), harness.request("1.0", paid[1], bob)]
    decisions = harness.hooked_worker(break_down).answer(requests, harness.runner.run)
    assert [decision_type(decision) for decision in decisions] == ["answered", "ledger-unavailable"]
    released(harness.ask("1.0", paid[1], bob))
    assert harness.account("bob").history.queries == 2


def test_a_ledger_that_breaks_down_after_a_settlement_keeps_no_settled_answer_back(harness: GateHarness) -> None:
    """Ada's answer is withheld, and the challenge for its rest needs the ledger's secrets; bob's needs nothing more."""
    bob = harness.ledger.add_key("bob")
    paid = [prepay(harness, 1000), prepay(harness, 1000, bob)]
    calls: list[str] = []

    def break_down(name: str) -> None:
        calls.append(name)
        if "settle" in calls and name != "settle":
            raise LedgerUnavailable("the ledger is down")

    requests = [harness.request(payload_of(4), paid[0], counted=False), harness.request("1.0", paid[1], bob)]
    decisions = harness.hooked_worker(break_down).answer(requests, harness.runner.run)
    assert [decision_type(decision) for decision in decisions] == ["ledger-unavailable", "answered"]
    assert calls.index("secrets") > calls.index("settle")
    rest = rest_challenge(harness.ask(payload_of(4), paid[0], counted=False))
    released(harness.ask(payload_of(4), solution(rest), counted=False))
    assert harness.account().history.queries == 4


def test_a_ledger_that_breaks_down_between_two_turns_of_a_batch_keeps_what_was_settled(harness: GateHarness) -> None:
    """Two requests with one solution run one after the other."""
    paid = harness.pay("1.0")
    calls: list[str] = []

    def break_down(name: str) -> None:
        calls.append(name)
        if calls.count("admit") == 2:
            raise LedgerUnavailable("the ledger is down")

    requests = [harness.request("1.0", paid), harness.request("1.0", paid)]
    decisions = harness.hooked_worker(break_down).answer(requests, harness.runner.run)
    assert [decision_type(decision) for decision in decisions] == ["answered", "ledger-unavailable"]
    assert harness.account().history.queries == harness.pass_count == 1
    released(harness.ask("1.0", paid))


class Bug(Exception):
    """An exception that nothing expects."""


def raises(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
    raise Bug


def returns_too_few(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
    return []


def returns_nonsense(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
    return [PassResult("answer", PricedSamples([[math.nan]], [0], [identity("nonsense")])) for _ in requests]


def runs_out_of_memory(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
    raise MemoryError


@pytest.mark.parametrize("run", [raises, returns_too_few, returns_nonsense, runs_out_of_memory])
def test_a_bug_in_what_runs_the_victim_answers_nothing_and_loses_nothing(
    harness: GateHarness, run: Callable[[Sequence[TextRequest]], list[PassResult[str | None]]]
) -> None:
    paid = [harness.pay("1.0"), harness.pay("1.0")]
    for _ in range(MOST_USES - 1):
        decisions = harness.gate.answer([harness.request("1.0", paid[0]), harness.request("1.1", paid[1])], run)
        for decision in decisions:
            assert_unavailable(decision, "pricing-unavailable")
    assert harness.account().version == 0
    for index, good in enumerate(paid):
        released(harness.ask(f"1.{index}", good))


def test_a_digest_that_fails_in_an_unexpected_way_is_no_answer_and_no_loss(harness: GateHarness) -> None:
    def fail() -> str:
        raise Bug

    paid = harness.pay("1.0")
    request = TextRequest(harness.key, paid, 1, Purpose.predict, "1.0", fail)
    assert_unavailable(harness.batch(request)[0], "pricing-unavailable")
    released(harness.ask("1.0", paid))
