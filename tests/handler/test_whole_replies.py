"""Replies by gRPC as whole HTTP responses, for clients that ask for them, written by the adapter without a server."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ts.context import Context, RequestProcessor

from calpow.handler.gate.interface import Decision, Refused, Released
from calpow.handler.gate.problems import IDENTITY_UNKNOWN, LEDGER_UNAVAILABLE
from calpow.handler.metrics.tally import Tally
from calpow.handler.torchserve import GateHandler
from calpow.handler.torchserve_request import TorchServeRequest
from calpow.handler.victim import HeldAnswer
from calpow.handler.victim_failures import VictimFailure
from calpow.puzzle.http_message import HttpMessage, read_message

WHOLE = {"data": b"x", "PoW-Reply": b"http"}
PLAIN = {"data": b"x"}


class Scripted:
    """A strategy that decides as the test says."""

    def __init__(self, *decisions: Decision[HeldAnswer]) -> None:
        self._decisions = list(decisions)

    def answer(self, requests: Sequence[TorchServeRequest], run: object) -> list[Decision[HeldAnswer]]:
        return self._decisions[: len(requests)]


class Socket:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, message: bytes) -> None:
        self.sent.append(bytes(message))


def handle(rows: Sequence[dict[str, bytes]], *decisions: Decision[HeldAnswer]) -> tuple[list[Any], Socket]:
    """The bodies that TorchServe gets for a batch of gRPC requests, and what was streamed before."""
    handler = GateHandler()
    vars(handler).update(
        _strategy=Scripted(*decisions),
        _passes=SimpleNamespace(run=None),
        _version="1",
        _counted=False,
        _tally=Tally(),
    )
    context = Context("digits", "", {}, 1, 0, "")
    context.request_ids = {index: f"id-{index}" for index in range(len(rows))}
    context.request_processor = [RequestProcessor({}) for _ in rows]
    context.metrics = SimpleNamespace()
    context.cl_socket = socket = Socket()
    bodies = handler.handle(rows, context)
    assert isinstance(bodies, list)
    return bodies, socket


def released(body: object, *, sent: Sequence[bytes] = (), next_hashes: int | None = 64) -> Released[HeldAnswer]:
    return Released(HeldAnswer(body, None, RequestProcessor({}), sent), next_hashes)


def read(body: object) -> HttpMessage:
    assert isinstance(body, bytes)
    message = read_message(body)
    assert message is not None
    return message


def test_who_does_not_ask_gets_the_body_alone() -> None:
    bodies, _ = handle([PLAIN, PLAIN], released(b"answer"), Refused(IDENTITY_UNKNOWN, ""))
    assert bodies[0] == b"answer"
    assert bodies[1].startswith('{"type"')


def test_an_answer_brings_the_next_price_and_the_time() -> None:
    message = read(handle([WHOLE], released(b"answer"))[0][0])
    assert (message.status, message.body, message.headers["pow-next"]) == (200, b"answer", "64")
    assert message.headers["date"].endswith(" GMT")


def test_a_refusal_brings_its_status_and_headers() -> None:
    message = read(handle([WHOLE], Refused(LEDGER_UNAVAILABLE, ""))[0][0])
    assert (message.status, message.headers["retry-after"]) == (503, "5")
    assert message.headers["content-type"] == "application/problem+json"


def test_a_failure_in_a_batch_is_told_from_an_answer() -> None:
    failed = Released(HeldAnswer(None, VictimFailure(503, "Prediction failed"), RequestProcessor({})), None)
    bodies, _ = handle([WHOLE, WHOLE], failed, released(b"answer"))
    assert (read(bodies[0]).status, read(bodies[1]).status) == (503, 200)


def test_the_victims_own_status_and_headers_stay_with_the_victim() -> None:
    answer = released(b"none such")
    answer.answer.processor.report_status(404, "Not Found")
    answer.answer.processor.add_response_property("X-Own", "1")
    message = read(handle([WHOLE], answer)[0][0])
    assert (message.status, message.body) == (200, b"none such")
    assert "x-own" not in message.headers


@pytest.mark.parametrize("body", [b"bytes", bytearray(b"bytes"), "bytes", torch.zeros(2)])
def test_a_body_of_any_kind_is_the_one_that_torchserve_would_write(body: object) -> None:
    message = read(handle([WHOLE], released(body))[0][0])
    if isinstance(body, torch.Tensor):
        assert message.body[:2] == b"PK", "what torch.save writes is a zip file"
    else:
        assert message.body == b"bytes"


def test_before_a_stream_goes_a_message_with_the_headers_alone() -> None:
    bodies, socket = handle([WHOLE], released(b"last", sent=[b"first"]))
    assert bodies == [b"last"]
    head, first = socket.sent
    assert first == b"first"
    assert b"HTTP/1.1 200 OK\r\n" in head
    assert b"PoW-Next: 64\r\n" in head
