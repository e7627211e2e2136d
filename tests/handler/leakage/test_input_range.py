"""The range of legitimate inputs: a query beyond it costs the most, whatever the models make of it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from calpow.handler.leakage.batches import BatchMaker
from calpow.handler.leakage.input_range import (
    FEWEST_INPUTS,
    MOST_PLACES,
    RangeCheck,
    check_numbers,
    measure_range,
)
from calpow.handler.leakage.meter import Meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import follow_model
from calpow.handler.leakage.score import Array, SampleBatch, VictimOutput
from calpow.handler.leakage.specs import InputRange, OutputKind, VictimShape

PICTURES = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 255.0]).view(
    3, 1, 1
)
VECTORS = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 100.0, 1.0])


@pytest.mark.parametrize(
    "inputs", [PICTURES, VECTORS, VECTORS.double(), (PICTURES * 10).to(torch.int64), VECTORS[:, None]]
)
def test_legitimate_inputs_lie_within_and_ten_times_as_much_does_not(inputs: Tensor) -> None:
    legitimate = RangeCheck(measure_range(inputs))
    assert not legitimate.exceeded(inputs).any()
    assert legitimate.exceeded(inputs * 10).float().mean() > 0.9
    assert legitimate.exceeded(inputs * 1000).float().mean() > 0.99


@given(times=st.floats(1.0, 1.2), n=st.integers(1, 5))
def test_a_little_beyond_is_within(times: float, n: int) -> None:
    assert not RangeCheck(measure_range(PICTURES)).exceeded(PICTURES[:n] * times).any()


def test_each_channel_and_each_place_has_a_range_of_its_own() -> None:
    assert len(measure_range(PICTURES).low) == 3
    assert len(measure_range(VECTORS).low) == 4
    dark = PICTURES.clone()
    dark[:, 2] = 0.0
    dark[0, 0, 0, 0] = 400.0
    assert RangeCheck(measure_range(PICTURES)).exceeded(dark).tolist() == [True] + [False] * 199


def test_where_little_was_seen_or_inputs_are_long_one_range_serves_all() -> None:
    assert len(measure_range(VECTORS[: FEWEST_INPUTS - 1]).low) == 1
    assert len(measure_range(torch.rand(200, MOST_PLACES + 1)).low) == 1
    assert len(measure_range((VECTORS * 10).to(torch.int64)).low) == 1


def test_a_number_that_never_varied_may_vary_a_little() -> None:
    inputs = VECTORS.clone()
    inputs[:, 0] = 0.0
    query = inputs[:1].clone()
    query[0, 0] = 0.5
    assert not RangeCheck(measure_range(inputs)).exceeded(query).any()


KINDS = [torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int64, torch.int32]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_every_type_have_a_range(kind: torch.dtype) -> None:
    inputs = (VECTORS % 8).to(kind)
    legitimate = RangeCheck(measure_range(inputs))
    assert not legitimate.exceeded(inputs).any()
    assert legitimate.exceeded(torch.full((2, 4), 200, dtype=kind)).all()


def test_bools_and_complex_numbers_have_a_range_too() -> None:
    bools = VECTORS > 0.5
    assert not RangeCheck(measure_range(bools)).exceeded(bools).any()
    waves = torch.complex(VECTORS, -VECTORS)
    legitimate = RangeCheck(measure_range(waves))
    assert not legitimate.exceeded(waves).any()
    assert legitimate.exceeded(waves * 100).all()


def test_where_there_is_no_range_nothing_exceeds_it() -> None:
    assert not RangeCheck(InputRange((), ())).exceeded(VECTORS * 1e6).any()


def test_inputs_without_numbers_exceed_nothing() -> None:
    assert RangeCheck(measure_range(VECTORS)).exceeded(torch.zeros(2, 0)).tolist() == [False, False]


class Certain:
    """A score that finds nothing odd."""

    needs = VictimOutput.INPUTS
    highest = 2.0

    def costs(self, batch: SampleBatch) -> Array:
        return np.zeros(len(batch.answers))


def test_a_query_beyond_the_range_costs_the_most_and_no_other_in_its_batch_does() -> None:
    recorder = follow_model(SimpleNamespace(model=nn.Identity()), None)
    batches = BatchMaker(VictimShape(4, (4,)), OutputKind.logits, VictimOutput.INPUTS)
    meter = Meter(recorder, (Certain(),), RangeCheck(measure_range(VECTORS)), batches)
    batch = torch.cat([VECTORS[:1], VECTORS[:1] * 100, VECTORS[1:2]])
    assert meter.price(batch).costs.tolist() == [[0.0], [2.0], [0.0]]


@pytest.mark.parametrize("inputs", [PICTURES, VECTORS, (PICTURES * 10).to(torch.int64)])
def test_extremes_that_hold_for_every_place_need_no_closer_look(inputs: Tensor) -> None:
    legitimate = RangeCheck(measure_range(inputs))
    narrow = inputs.clone()
    narrow[:] = inputs.flatten(1).amin().to(inputs)
    extremes = check_numbers(ModelInputs.of(narrow))
    assert legitimate.holds(extremes) is not legitimate.exceeded(narrow).any().item()
    assert not legitimate.holds(check_numbers(ModelInputs.of(inputs * 10)))


@given(low=st.floats(-500.0, 500.0), high=st.floats(-500.0, 500.0))
def test_whatever_holds_does_not_exceed(low: float, high: float) -> None:
    legitimate = RangeCheck(measure_range(PICTURES))
    low, high = min(low, high), max(low, high)
    query = torch.full((1, 3, 8, 8), low)
    query[0, :, 0, 0] = high
    if legitimate.holds((low, high)):
        assert not legitimate.exceeded(query).any()


def test_the_extremes_are_those_of_all_tensors() -> None:
    several = ModelInputs(({"ids": torch.tensor([3, 9])}, torch.tensor([[0.5]])), {"mask": torch.tensor([True])})
    assert check_numbers(several) == (0.0, 9.0)
    assert RangeCheck(InputRange((), ())).holds(check_numbers(several))
    assert check_numbers(ModelInputs((), {})) == (float("inf"), float("-inf"))
