"""Whatever TorchServe may hand over, the adapter and the gate refuse it as it deserves, and the victim does not run."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ts.context import Context, RequestProcessor

from calpow.handler.metrics.tally import Tally
from calpow.handler.torchserve import GateHandler
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.wire import Challenge
from tests.support.gate_harness import GateHarness

NAMES = ("X-Api-Key", "x-api-key", "PoW-Solution", "POW-SOLUTION", "PoW-Reply", "describe", "explain", "Content-Type")
OTHER_NAMES = ("Content-Length", "url_path", "data", "body", "", "\u00e9", "Cookie")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


class Desk:
    """A handler whose victim must not run, and the texts from which its clients make their requests."""

    def __init__(self, folder: Path) -> None:
        self.harness = GateHarness(folder / "ledger.db")
        challenge: Challenge = self.harness.challenge("1.0")
        resource = prepaid_resource(self.harness.gate.realm, self.harness.key)
        self.texts = (
            self.harness.key,
            self.harness.key[:-1] + "x",
            challenge.token,
            f"{challenge.token} 1:5:260101:{challenge.puzzle.resource}:0:r:c",
            f"prepaid 1:20:260101000000:{resource}:0:r:c",
            f"prepaid 1:-1:260101000000:{resource}:0:r:c",
            f"prepaid 1:99999999999999999999:260101000000:{resource}:0:r:c",
            "prepaid",
            "True",
            "TRUE",
            "http",
            "application/x-www-form-urlencoded",
            "9" * 30,
        )
        self.handler = GateHandler()
        vars(self.handler).update(
            _strategy=self.harness.gate,
            _passes=SimpleNamespace(run=self._run),
            _version="1.0",
            _counted=True,
            _tally=Tally(),
        )
        self.passes = 0

    def _run(self, requests: Sequence[Any]) -> Any:
        self.passes += 1
        raise AssertionError("the victim ran")

    def handle(self, rows: Sequence[dict[Any, Any]], properties: Sequence[dict[Any, Any]]) -> list[dict[str, Any]]:
        """Hand over a batch, and return the documents."""
        context = Context("digits", "", {}, len(rows), 0, "")
        context.request_ids = {index: f"id-{index}" for index in range(len(rows))}
        context.request_processor = [RequestProcessor(one) for one in properties]
        context.metrics = SimpleNamespace()
        bodies: Any = self.handler.handle(rows, context)
        texts = [body if isinstance(body, str) else body.partition(b"\r\n\r\n")[2].decode() for body in bodies]
        return [json.loads(text) for text in texts]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_malformed_requests_are_refused_one_by_one(desk: Desk, data: st.DataObject) -> None:
    known = st.sampled_from(desk.texts)
    text = known | st.tuples(known, st.text(max_size=6)).map("".join) | st.text(max_size=20)
    part = st.binary(max_size=40) | text.map(str.encode) | text | JSON
    row = st.dictionaries(st.sampled_from(NAMES + OTHER_NAMES), part, max_size=5)
    headers = st.dictionaries(st.sampled_from(NAMES + OTHER_NAMES), text | st.just({"content-type": "x"}), max_size=6)
    count = data.draw(st.integers(1, 3))
    rows = [data.draw(row) for _ in range(count)]
    # No description: that is free for everyone with a key, and does run code of the victim.
    properties = [
        {name: value for name, value in data.draw(headers).items() if name != "describe"} for _ in range(count)
    ]
    documents = desk.handle(rows, properties)
    assert [document["status"] for document in documents if document["status"] >= 500] == []
    assert all(document["type"].startswith("urn:calpow:problem:") for document in documents)
    assert desk.passes == 0
    assert desk.harness.account().version == 0
