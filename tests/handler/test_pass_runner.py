"""The pass runner: requests whose rows are known share a pass, and what spoils one request spoils it alone."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from calpow.handler.errors import BadPayload, PricingUnavailable
from calpow.handler.gate import problems
from calpow.handler.leakage.meter import Meter
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.pass_runner import PassRunner
from calpow.handler.policy.calibrated_policy import BatchRows
from calpow.handler.torchserve_request import TorchServeRequest
from calpow.handler.victim import Victim


class Handler:
    """Answers each row with the number that it holds. A row that holds none cannot be read."""

    def __init__(self) -> None:
        self.model, self.context = nn.Identity(), None
        self.batches: list[int] = []

    def handle(self, data: list[Any], context: object) -> list[float]:
        self.batches.append(len(data))
        answers = self.model(torch.tensor([[float(row["body"])] for row in data]))
        return [float(answer) for answer in answers]


class NumberMeter:
    """Prices samples by their numbers; raises `error` for those that are 13."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def price_calls(self, calls: list[Call]) -> ScoredSamples:
        (call,) = calls
        assert call.inputs is not None
        if 13 in call.inputs:
            raise self.error
        return ScoredSamples(call.inputs.double(), torch.zeros(len(call.inputs), dtype=torch.int64))


def runner(handler: Handler, error: Exception, *, in_order: bool = True) -> PassRunner:
    context = SimpleNamespace(metrics=SimpleNamespace())
    victim = Victim(SimpleNamespace(_entry_point=handler.handle, context=context))
    return PassRunner(victim, cast(Meter, NumberMeter(error)), BatchRows(in_order=in_order, counted=False))


def requests(*bodies: bytes) -> list[TorchServeRequest]:
    return [
        TorchServeRequest.read(str(index), {"body": body}, {"Accept": "*/*"}, version="1.0", counted=False)
        for index, body in enumerate(bodies)
    ]


@pytest.mark.parametrize("in_order", [True, False])
def test_requests_share_a_pass_where_their_rows_are_known(in_order: bool) -> None:
    handler = Handler()
    results = runner(handler, RuntimeError(), in_order=in_order).run(requests(b"1", b"2", b"3"))
    assert [result.answer.body for result in results] == [b"1.0", b"2.0", b"3.0"]
    assert [result.samples.costs.tolist() for result in results if result.samples] == [[[1.0]], [[2.0]], [[3.0]]]
    assert handler.batches == ([3] if in_order else [1, 1, 1])


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


def test_a_request_that_cannot_be_read_spoils_itself_alone() -> None:
    results = runner(Handler(), RuntimeError()).run(requests(b"1", b"one", b"3"))
    assert [result.problem and result.problem.type for result in results] == [None, "bad-payload", None]
    assert results[1].problem != problems.PRICING_UNAVAILABLE
