"""An operator's rules: a blocked account gets nothing, a trusted one pays the floor whatever it sends."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from calpow.handler.gate.interface import PassResult, Purpose
from calpow.handler.ledger.account import Rule
from tests.support.gate_harness import (
    FLOOR_HASHES,
    GateHarness,
    TextDecision,
    challenge_of,
    claim_work,
    decision_type,
    next_hashes_of,
    problem_of,
    trust_stamps,
)
from tests.support.text_runner import TextRequest


@pytest.fixture
def harness(tmp_path: Path) -> GateHarness:
    return GateHarness(tmp_path / "ledger.db")


def answer_odd(harness: GateHarness, number: int, key: str) -> TextDecision:
    """Return the answer to an odd sample, whose work is claimed as often as it is asked for."""
    text = f"2.0#{number}"
    decision = harness.ask(text, key=key)
    while decision_type(decision) != "answered":
        decision = harness.ask(text, claim_work(challenge_of(decision)), key)
    return decision


def test_a_blocked_account_gets_no_answer_with_any_of_its_keys_and_runs_nothing(harness: GateHarness) -> None:
    other_key, paid = harness.ledger.add_key("ada"), harness.pay("1.0")
    harness.ledger.set_rule("ada", Rule.BLOCKED)
    rows = harness.rows()
    decisions = [harness.ask("1.0", paid), harness.ask("1.0"), harness.ask("1.0", key=other_key)]
    assert [decision_type(decision) for decision in decisions] == ["account-blocked"] * 3
    assert problem_of(decisions[0]).status == 403
    assert (harness.pass_count, harness.rows()) == (0, rows)
    bob = harness.ledger.add_key("bob")
    assert decision_type(harness.ask("1.0", harness.pay("1.0", bob), bob)) == "answered"


def test_a_blocked_account_is_not_told_what_the_model_is(harness: GateHarness) -> None:
    def describe(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        raise AssertionError("the model was described")

    harness.ledger.set_rule("ada", Rule.BLOCKED)
    request = TextRequest(harness.key, None, 1, Purpose.describe, "", lambda: "")
    assert decision_type(harness.gate.answer([request], describe)[0]) == "account-blocked"


def test_work_that_was_done_before_a_block_is_good_after_it(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    harness.ledger.set_rule("ada", Rule.BLOCKED)
    harness.ask("1.0", paid)
    harness.ledger.set_rule("ada", Rule.PRICED)
    assert decision_type(harness.ask("1.0", paid)) == "answered"


def test_a_trusted_account_pays_the_floor_for_odd_samples_and_others_do_not(
    harness: GateHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_stamps(monkeypatch)
    prices = {}
    for rule in (Rule.TRUSTED, Rule.PRICED):
        key = harness.ledger.add_key(rule.value)
        harness.ledger.set_rule(rule.value, rule)
        prices[rule] = [next_hashes_of(answer_odd(harness, number, key)) for number in range(10)]
    assert prices[Rule.TRUSTED] == [FLOOR_HASHES] * 10
    assert prices[Rule.PRICED][-1] > 10 * FLOOR_HASHES


def test_a_trusted_account_that_paid_more_comes_down_by_any_samples(
    harness: GateHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_stamps(monkeypatch)
    dear = [next_hashes_of(answer_odd(harness, number, harness.key)) for number in range(4)][-1]
    harness.ledger.set_rule("ada", Rule.TRUSTED)
    trusted = [next_hashes_of(answer_odd(harness, number, harness.key)) for number in range(4, 100)]
    assert dear > trusted[-1] == FLOOR_HASHES
    assert not any(harness.account().history.wealth)
