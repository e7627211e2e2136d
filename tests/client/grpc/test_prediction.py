"""Requests of gRPC get the protocol's entries in a copy, and replies lose the headers that came with them."""

from typing import Any

import pytest

from calpow.client.errors import RequestRefused
from calpow.client.grpc.prediction import Prediction, is_prediction
from calpow.puzzle.http_message import write_message
from tests.support.grpc_stubs import Stubs, generate

SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Stubs:
    return generate(tmp_path_factory.mktemp("stubs"))


def message(stubs: Stubs, content: bytes) -> Any:
    return stubs.messages.PredictionResponse(prediction=content)


def test_entries_are_replaced_in_any_spelling_and_in_a_copy(stubs: Stubs) -> None:
    mine = {"x-api-KEY": b"stale", "POW-IDENTITY": b"stale", "pow-solution": b"earlier", "data": b"x"}
    request = stubs.request("digits", b"vector", mine)
    prediction = Prediction(request)
    sent = prediction.next_request({"X-Api-Key": "cp_1", "PoW-Solution": "token stamp"})
    assert dict(sent.input) == {
        "body": b"vector",
        "data": b"x",
        "X-Api-Key": b"cp_1",
        "PoW-Solution": b"token stamp",
        "PoW-Reply": b"http",
    }
    assert dict(request.input) == {"body": b"vector", **mine}
    assert prediction.solution == "earlier"


def test_models_and_versions_are_paid_for_apart(stubs: Stubs) -> None:
    names = [("digits", ""), ("digits", "1.0"), ("digits/1.0", ""), ("digits?", ""), ("digits", "2.0")]
    urls = {Prediction(stubs.request(model, b"", version=version)).url.partition("?")[0] for model, version in names}
    assert len(urls) == len(names)


def test_a_reply_is_taken_apart(stubs: Stubs) -> None:
    prediction = Prediction(stubs.request("digits", b"vector"))
    prediction.next_request({"PoW-Solution": "prepaid stamp"})
    answer = message(stubs, write_message(200, {"PoW-Next": "64"}, b"answer"))
    reply = prediction.receive(answer)
    assert (reply.status, reply.next_hashes, reply.was_prepaid) == (200, 64, True)
    assert answer.prediction == b"answer"
    prediction.check_answer()


def test_a_message_of_an_unprotected_model_is_its_answer(stubs: Stubs) -> None:
    prediction = Prediction(stubs.request("digits", b"vector"))
    prediction.next_request({})
    answer = message(stubs, b'{"type": "urn:calpow:problem:pow-required", "status": 402}')
    assert prediction.receive(answer).status == 200
    assert answer.prediction.startswith(b"{")
    prediction.check_answer()


def test_a_refusal_is_raised_with_its_reason(stubs: Stubs) -> None:
    prediction = Prediction(stubs.request("digits", b"vector"))
    prediction.next_request({})
    body = b'{"type": "urn:calpow:problem:too-large", "status": 413, "detail": "Shrink it."}'
    prediction.receive(message(stubs, write_message(413, {}, body)))
    with pytest.raises(RequestRefused, match="Shrink it") as refused:
        prediction.check_answer()
    assert (refused.value.status, refused.value.problem) == (413, "too-large")


@pytest.mark.parametrize("method", ["Predictions", "StreamPredictions"])
def test_predictions_are_paid_for(method: str) -> None:
    assert is_prediction(f"{SERVICE}/{method}")
    assert is_prediction(f"{SERVICE}/{method}".encode())


@pytest.mark.parametrize("method", [f"{SERVICE}/Ping", f"{SERVICE}/StreamPredictions2", "/other.Service/Predictions"])
def test_other_calls_pass(method: str) -> None:
    assert not is_prediction(method)
