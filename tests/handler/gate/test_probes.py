"""A probe key gets the answer to its own payload, for the floor and without evidence, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from calpow.handler.gate.interface import PassResult, Purpose
from calpow.handler.gate.probes import payload_digest, probe_account
from calpow.handler.ledger.account import Rule
from tests.support.gate_harness import (
    FLOOR_HASHES,
    GateHarness,
    challenge_of,
    decision_type,
    next_hashes_of,
    problem_of,
    solution,
)
from tests.support.text_runner import TextRequest

# An odd sample: of anybody else, it would raise the price.
PAYLOAD = "2.0"
PROBE = probe_account(PAYLOAD.encode())


@pytest.fixture
def harness(tmp_path: Path) -> GateHarness:
    return GateHarness(tmp_path / "ledger.db")


@pytest.fixture
def key(harness: GateHarness) -> str:
    harness.ledger.set_rule(PROBE, Rule.PROBE)
    return harness.ledger.add_key(PROBE)


def test_a_probe_pays_the_floor_for_its_payload_however_often_it_is_sent(harness: GateHarness, key: str) -> None:
    for _ in range(20):
        unpaid = harness.ask(PAYLOAD, key=key)
        assert challenge_of(unpaid).puzzle.expected_hashes == FLOOR_HASHES
        answered = harness.ask(PAYLOAD, solution(challenge_of(unpaid)), key)
        assert decision_type(answered) == "answered"
        assert next_hashes_of(answered) == FLOOR_HASHES
    account = harness.ledger.account("digits", PROBE)
    assert (max(account.history.wealth), account.history.queries) == (0, 1)


@pytest.mark.parametrize("other", ["2.0 ", "2.1", "2.0#a", "2.0 2.0", ""])
def test_a_stolen_probe_key_gets_no_other_answer_and_runs_nothing(harness: GateHarness, key: str, other: str) -> None:
    paid = solution(challenge_of(harness.ask(PAYLOAD, key=key)))
    rows = harness.rows()
    for work in (None, paid):
        refused = harness.ask(other, work, key)
        assert decision_type(refused) == "probe-only"
        assert problem_of(refused).status == 403
    assert decision_type(harness.ask(PAYLOAD, paid, key, explains=True)) == "probe-only"
    assert (harness.pass_count, harness.rows()) == (0, rows)
    assert decision_type(harness.ask(PAYLOAD, paid, key)) == "answered"


def test_a_probe_is_not_told_what_the_model_is(harness: GateHarness, key: str) -> None:
    def describe(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        raise AssertionError("the model was described")

    request = TextRequest(key, None, 1, Purpose.describe, "", lambda: "")
    assert decision_type(harness.gate.answer([request], describe)[0]) == "probe-only"


def test_a_name_alone_makes_no_probe(harness: GateHarness) -> None:
    """Names may be chosen by users, where an issuer of tokens lets them; the rule is an operator's."""
    key = harness.ledger.add_key(PROBE)
    harness.ask(PAYLOAD, solution(challenge_of(harness.ask(PAYLOAD, key=key))), key)
    assert max(harness.ledger.account("digits", PROBE).history.wealth) > 0
    assert decision_type(harness.ask("1.0", key=key)) == "pow-required"


def test_a_rule_without_the_name_answers_nothing(harness: GateHarness) -> None:
    harness.ledger.set_rule("ada", Rule.PROBE)
    for text in ("1.0", PAYLOAD):
        assert decision_type(harness.ask(text)) == "probe-only"


def test_digests_tell_bytes_from_json_and_do_not_depend_on_its_layout() -> None:
    assert payload_digest({"b": 1, "a": [1.5, None]}) == payload_digest({"a": [1.5, None], "b": 1})
    values: list[object] = [b"1", bytearray(b"2"), 1, "1", [1], {"a": 1}, {"a": 2}]
    assert len({payload_digest(value) for value in values}) == len(values)
    assert payload_digest(b"2") == payload_digest(bytearray(b"2"))
    nested: object = 0
    for _ in range(100_000):
        nested = [nested]
    for no_payload in (object(), {1.5: object()}, nested):
        assert payload_digest(no_payload) == ""
