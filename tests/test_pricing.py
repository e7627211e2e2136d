"""Pricing a batch of payloads: each gets the price it has alone, and a bad one fails alone."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from calpow.handler.errors import BadPayload, PricingUnavailable
from calpow.handler.leakage.base import Priced
from calpow.handler.pricing import MOST_SAMPLES, BatchPricer


def sums(inputs: Tensor) -> Priced:
    """A sample costs the sum of its numbers; the label is the place of the largest."""
    return Priced(inputs.sum(dim=1, keepdim=True).to(torch.float64), inputs.argmax(dim=1))


def ones(inputs: Tensor) -> Priced:
    """Every sample costs one."""
    return Priced(torch.ones(len(inputs), 1, dtype=torch.float64), torch.zeros(len(inputs), dtype=torch.int64))


def price(payloads: Sequence[object]) -> list[Priced | BadPayload | PricingUnavailable]:
    return BatchPricer(preprocess, sums, (3,)).price(payloads)


def preprocess(payload: object) -> Tensor:
    if payload == "unreadable":
        raise BadPayload("the model cannot read this payload")
    if payload == "memory":
        raise PricingUnavailable("no memory left")
    assert isinstance(payload, Tensor)
    return payload


def test_a_payload_costs_the_same_alone_and_in_a_batch() -> None:
    payloads = [torch.rand(samples, 3) for samples in (1, 4, 2)]
    together = price(payloads)
    for payload, entry in zip(payloads, together, strict=True):
        (alone,) = price([payload])
        assert isinstance(alone, Priced)
        assert isinstance(entry, Priced)
        assert torch.equal(alone.costs, entry.costs)
        assert torch.equal(alone.labels, entry.labels)
        assert len(entry.costs) == len(payload)


@pytest.mark.parametrize("bad", ["unreadable", torch.rand(1, 4), torch.full((1, 3), math.nan)], ids=str)
def test_a_bad_payload_fails_alone(bad: object) -> None:
    made = price([torch.ones(1, 3), bad, torch.ones(2, 3)])
    assert [type(entry) for entry in made] == [Priced, BadPayload, Priced]
    assert isinstance(price([bad])[0], BadPayload)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_one_number_that_is_not_finite_is_enough_to_be_refused(value: float, kind: torch.dtype) -> None:
    payload = torch.zeros(2, 3, dtype=kind)
    payload[1, 2] = value
    assert isinstance(price([payload])[0], BadPayload)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool, torch.float16, torch.float64])
def test_numbers_of_any_kind_are_read(kind: torch.dtype) -> None:
    (made,) = BatchPricer(preprocess, ones, (3,)).price([torch.ones(2, 3).to(kind)])
    assert isinstance(made, Priced)


def test_a_payload_for_which_there_is_no_memory_fails_alone() -> None:
    made = price([torch.ones(1, 3), "memory"])
    assert [type(entry) for entry in made] == [Priced, PricingUnavailable]


def test_when_the_metric_fails_bad_payloads_are_still_told_so() -> None:
    def fail(inputs: Tensor) -> Priced:
        raise MemoryError

    made = BatchPricer(preprocess, fail, (3,)).price([torch.ones(1, 3), "unreadable"])
    assert [type(entry) for entry in made] == [PricingUnavailable, BadPayload]


@pytest.mark.parametrize("payload", [torch.full((1, 3), 1e30), torch.ones(MOST_SAMPLES + 1, 3)], ids=["huge", "many"])
def test_what_would_overflow_or_flood_the_teachers_is_refused(payload: Tensor) -> None:
    assert isinstance(price([payload])[0], BadPayload)


def test_whom_the_victim_cannot_answer_does_not_spoil_the_prices_of_others() -> None:
    def picky(inputs: Tensor) -> Priced:
        if bool((inputs < 0).any()):
            raise BadPayload("the model cannot answer this payload")
        return sums(inputs)

    payloads = [torch.ones(1, 3), -torch.ones(1, 3), torch.ones(2, 3)]
    made = BatchPricer(preprocess, picky, (3,)).price(payloads)
    assert [type(entry) for entry in made] == [Priced, BadPayload, Priced]
