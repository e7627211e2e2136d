"""The observer releases every answer, accounts for those that were priced, and refuses only what is no answer."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from calpow.handler.gate import problems
from calpow.handler.gate.interface import PassResult, Purpose, Refused, Released
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.observe.observer import Observer
from tests.support.calibrations import calibrated_policy
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
    assert ledger.account(MODEL, "ada").totals.queries == 2
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    assert [(line["account"], line["costs"]) for line in lines] == [("ada", [[1.0], [2.0]]), ("", [[1.5]])]


def test_a_description_that_calls_the_model_is_refused(observer: Observer) -> None:
    def describe(requests: Sequence[TextRequest]) -> list[PassResult[None]]:
        return [PassResult(None, None, problems.bad_payload("a description takes no input")) for _ in requests]

    (decision,) = observer.answer([request(None, "", Purpose.describe)], describe)
    assert isinstance(decision, Refused)
    assert decision.problem.type == "bad-payload"
