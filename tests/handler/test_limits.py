"""The range of legitimate inputs: who leaves it pays the most, whatever the models make of him."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from calpow.handler.leakage.input_range import FEWEST_INPUTS, MOST_PLACES, Limits
from calpow.handler.leakage.meter import Meter
from calpow.handler.leakage.output import OutputKind
from calpow.handler.leakage.score import Need, Priced, Seen
from calpow.handler.recording import follow_model

PICTURES = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 255.0]).view(
    3, 1, 1
)
VECTORS = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 100.0, 1.0])


@pytest.mark.parametrize(
    "inputs", [PICTURES, VECTORS, VECTORS.double(), (VECTORS * 10).to(torch.int64), VECTORS[:, None]]
)
def test_legitimate_inputs_lie_within_and_ten_times_as_much_does_not(inputs: Tensor) -> None:
    limits = Limits.of(inputs)
    assert not limits.exceeded(inputs).any()
    assert limits.exceeded(inputs * 10).float().mean() > 0.9
    assert limits.exceeded(inputs * 1000).float().mean() > 0.99


@given(times=st.floats(1.0, 1.2), n=st.integers(1, 5))
def test_a_little_beyond_is_within(times: float, n: int) -> None:
    assert not Limits.of(PICTURES).exceeded(PICTURES[:n] * times).any()


def test_each_channel_and_each_place_has_limits_of_its_own() -> None:
    assert len(Limits.of(PICTURES).low) == 3
    assert len(Limits.of(VECTORS).low) == 4
    dark = PICTURES.clone()
    dark[:, 2] = 0.0
    dark[0, 0, 0, 0] = 400.0
    assert Limits.of(PICTURES).exceeded(dark).tolist() == [True] + [False] * 199


def test_where_little_was_seen_or_inputs_are_long_one_range_serves_all() -> None:
    assert len(Limits.of(VECTORS[: FEWEST_INPUTS - 1]).low) == 1
    assert len(Limits.of(torch.rand(200, MOST_PLACES + 1)).low) == 1


def test_a_number_that_never_varied_may_vary_a_little() -> None:
    inputs = VECTORS.clone()
    inputs[:, 0] = 0.0
    asked = inputs[:1].clone()
    asked[0, 0] = 0.5
    assert not Limits.of(inputs).exceeded(asked).any()


class Certain:
    """A metric that finds nothing odd."""

    needs = Need.NOTHING
    highest = 2.0

    def price(self, seen: Seen) -> Priced:
        return Priced(
            torch.zeros(len(seen.inputs), 1, dtype=torch.float64), torch.zeros(len(seen.inputs), dtype=torch.int64)
        )


def test_whoever_leaves_the_limits_pays_the_most_and_nobody_else_in_the_batch() -> None:
    recorder = follow_model(SimpleNamespace(model=nn.Identity()), None)
    shape = tuple(VECTORS.shape[1:])
    meter = Meter(recorder, (Certain(),), Certain(), Limits.of(VECTORS), shape, OutputKind.logits)
    batch = torch.cat([VECTORS[:1], VECTORS[:1] * 100, VECTORS[1:2]])
    assert meter.price(batch).costs.tolist() == [[0.0], [2.0], [0.0]]
