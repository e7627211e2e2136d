"""The pass runner: requests whose rows are known share a pass, and what spoils one request spoils it alone."""

import copy
import gc
import weakref
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from calpow.handler.errors import BadPayload, PricingUnavailable
from calpow.handler.gate import problems
from calpow.handler.leakage.meter import Meter
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.sample_identity import SampleIdentifier
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.leakage.specs import InputRange
from calpow.handler.pass_runner import PassRunner
from calpow.handler.policy.calibrated_policy import BatchRows
from calpow.handler.torchserve_request import TorchServeRequest
from calpow.handler.victim import Victim

IDENTIFIER = SampleIdentifier(b"key", InputRange((), ()))


class Handler:
    """Answers each row with the number that it holds. A row that holds none cannot be read."""

    def __init__(self) -> None:
        self.model, self.context = nn.Identity(), None
        self.batches: list[int] = []

    def handle(self, data: list[Any], context: Any) -> Sequence[object]:
        self.batches.append(len(data))
        answers = self.model(torch.tensor([[float(row["body"])] for row in data]))
        return [float(answer) for answer in answers]


class NumberMeter:
    """Prices samples by their numbers; raises `error` for those that are 13."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def price_calls(self, calls: list[Call]) -> ScoredSamples:
        (call,) = calls
        (inputs,) = call.arguments.tensors
        if 13 in inputs:
            raise copy.copy(self.error)  # a double that is raised itself would keep the frames
        return ScoredSamples(inputs.double(), torch.zeros(len(inputs), dtype=torch.int64))


def runner(handler: Handler, error: Exception, *, in_order: bool = True) -> PassRunner:
    context = SimpleNamespace(metrics=SimpleNamespace())
    victim = Victim(SimpleNamespace(_entry_point=handler.handle, context=context))
    rows = BatchRows(in_order=in_order, counted=False)
    return PassRunner(victim, cast(Meter, NumberMeter(error)), IDENTIFIER, rows)


def requests(*bodies: bytes, **headers: str) -> list[TorchServeRequest]:
    properties = {"Accept": "*/*", **headers}
    return [
        TorchServeRequest.read(str(index), {"body": body}, properties, version="1.0", counted=False)
        for index, body in enumerate(bodies)
    ]


@pytest.mark.parametrize("in_order", [True, False])
def test_requests_share_a_pass_where_their_rows_are_known(in_order: bool) -> None:
    handler = Handler()
    results = runner(handler, RuntimeError(), in_order=in_order).run(requests(b"1", b"2", b"3"))
    assert [result.answer.body for result in results] == [b"1.0", b"2.0", b"3.0"]
    assert [result.samples.scores for result in results if result.samples] == [[[1.0]], [[2.0]], [[3.0]]]
    assert handler.batches == ([3] if in_order else [1, 1, 1])


@pytest.mark.parametrize("in_order", [True, False])
def test_a_sample_has_one_identity_alone_and_in_a_batch_however_its_numbers_are_spelled(in_order: bool) -> None:
    results = runner(Handler(), RuntimeError(), in_order=in_order).run(requests(b"1", b"2", b"1.0", b"10e-1"))
    (alone,) = runner(Handler(), RuntimeError()).run(requests(b" 1.000"))
    one, two, *others = [result.samples.identities for result in results if result.samples]
    assert alone.samples is not None
    assert others == [one, one]
    assert alone.samples.identities == one != two
    assert len(one) == 1
    assert one[0].digest


def test_a_sample_that_is_explained_is_another_one_than_the_same_sample_classified() -> None:
    handler = ExplainingHandler()
    headers: dict[str, str] = {}
    context = SimpleNamespace(metrics=SimpleNamespace(), get_request_header=lambda index, name: headers.get(name))
    victim = Victim(SimpleNamespace(_entry_point=handler.handle, context=context))
    rows = BatchRows(in_order=False, counted=False)
    running = PassRunner(victim, cast(Meter, NumberMeter(RuntimeError())), IDENTIFIER, rows)
    (sample,) = requests(b"7")
    (answered,) = running.run([sample])
    headers["explain"] = "True"
    (explained,) = running.run(requests(b"7", **headers))
    assert answered.samples is not None
    assert explained.samples is not None
    (one,), (other,) = answered.samples.identities, explained.samples.identities
    assert one.digest != other.digest
    assert one.sketch == other.sketch


@pytest.mark.parametrize(
    ("error", "problem_type"),
    [
        (KeyError("unforeseen"), "pricing-unavailable"),
        (MemoryError(), "pricing-unavailable"),
        (PricingUnavailable("no device"), "pricing-unavailable"),
        (BadPayload("too wide"), "bad-payload"),
    ],
)
def test_a_request_whose_pricing_fails_spoils_itself_alone(error: Exception, problem_type: str) -> None:
    results = runner(Handler(), error).run(requests(b"1", b"13", b"3"))
    assert [result.problem and result.problem.type for result in results] == [None, problem_type, None]
    assert [result.samples is None for result in results] == [False, True, False]


class Body(bytearray):
    """A body whose end can be observed."""


@pytest.mark.parametrize("text", [b"1", b"one", b"13"])
def test_a_pass_leaves_nothing_of_its_request_in_memory_also_where_it_fails(text: bytes) -> None:
    def bodies() -> list[weakref.ref[Body]]:
        sent = [TorchServeRequest.read("0", {"body": Body(text)}, {"Accept": "*/*"}, version="1.0", counted=False)]
        passes.run(sent)
        return [weakref.ref(cast(Body, request.row["body"])) for request in sent]

    passes = runner(Handler(), RuntimeError())
    gc.disable()
    try:
        assert [body() for body in bodies()] == [None]
    finally:
        gc.enable()


def test_a_request_that_cannot_be_read_spoils_itself_alone() -> None:
    results = runner(Handler(), RuntimeError()).run(requests(b"1", b"one", b"3"))
    assert [result.problem and result.problem.type for result in results] == [None, "bad-payload", None]
    assert results[1].problem != problems.PRICING_UNAVAILABLE


class AppendingHandler(Handler):
    """Appends in preprocessing what it empties in postprocessing, and fails on 13 in between."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle(self, data: list[Any], context: Any) -> Sequence[object]:
        self.texts += [bytes(row["body"]).decode() for row in data]
        numbers = self.model(torch.tensor([[float(text)] for text in self.texts[-len(data) :]]))
        if 13 in numbers:
            raise ValueError
        return [self.texts.pop(0) for _ in data]


def test_requests_of_a_batch_that_fails_are_run_alone_as_if_there_had_been_no_batch() -> None:
    handler = AppendingHandler()
    running = runner(handler, RuntimeError())
    results = running.run(requests(b"1", b"13", b"2"))
    assert [result.answer.body for result in results] == [b"1", None, b"2"]
    assert handler.texts == []


class ExplainingHandler(Handler):
    """Its inference appends what its postprocessing takes; its explanations use neither."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[torch.Tensor] = []

    def preprocess(self, data: list[Any]) -> torch.Tensor:
        return torch.tensor([[float(row["body"])] for row in data])

    def inference(self, numbers: torch.Tensor) -> torch.Tensor:
        self.waiting.append(numbers)
        answers: torch.Tensor = self.model(numbers)
        return answers

    def handle(self, data: list[Any], context: Any) -> Sequence[object]:
        numbers = self.preprocess(data)
        if context.get_request_header(0, "explain") == "True":
            return ["explained"]
        self.inference(numbers)
        return [self.waiting.pop(0).tolist()]


def test_pricing_an_explanation_leaves_nothing_for_the_next_answer() -> None:
    handler = ExplainingHandler()
    headers: dict[str, str] = {}
    context = SimpleNamespace(metrics=SimpleNamespace(), get_request_header=lambda index, name: headers.get(name))
    victim = Victim(SimpleNamespace(_entry_point=handler.handle, context=context))
    rows = BatchRows(in_order=False, counted=False)
    running = PassRunner(victim, cast(Meter, NumberMeter(RuntimeError())), IDENTIFIER, rows)
    headers["explain"] = "True"
    (explained,) = running.run(requests(b"7", **headers))
    assert explained.samples is not None
    headers.clear()
    (answer,) = running.run(requests(b"8"))
    assert answer.answer.body == b"[\n  [\n    8.0\n  ]\n]"


class FailingStream(Handler):
    """Streams its answer and then says, by its status alone, that it failed."""

    def __init__(self, *, streams: bool) -> None:
        super().__init__()
        self.streams = streams

    def handle(self, data: list[Any], context: Any) -> Sequence[object]:
        answers = super().handle(data, context)
        if self.streams:
            context.cl_socket.sendall(str(answers).encode())
        context.request_processor[0].report_status(500)
        return [""] * len(data)


@pytest.mark.parametrize("streams", [True, False])
def test_what_was_streamed_before_a_failure_is_priced_as_the_answer_that_it_is(streams: bool) -> None:
    (result,) = runner(FailingStream(streams=streams), RuntimeError()).run(requests(b"1"))
    assert (result.samples is not None) is streams
    assert result.answer.sent == ([b"[1.0]"] if streams else [])


def test_without_pricing_a_batch_is_one_pass_as_without_the_gate() -> None:
    handler = Handler()
    passes = runner(handler, AssertionError("priced"), in_order=False)
    assert [answer.body for answer in passes.run_unpriced(requests(b"1", b"13"))] == [b"1.0", b"13.0"]
    assert handler.batches == [2]
    failed = passes.run_unpriced(requests(b"1", b"one"))
    assert [answer.failure and answer.failure.code for answer in failed] == [503, 503]


def test_without_pricing_each_request_of_a_batch_gets_the_messages_of_its_own_answer() -> None:
    handler = FailingStream(streams=True)
    answers = runner(handler, AssertionError("priced")).run_unpriced(requests(b"1", b"2"))
    assert [answer.sent for answer in answers] == [[b"[1.0]"], [b"[2.0]"]]
