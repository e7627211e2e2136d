"""Facts about legitimate inputs: kinds, ranges and moments by place, padding, other samples in the same form."""

import pytest
import torch
from torch import Tensor

from calpow.archiver.calibration.synthetic_inputs.legitimate_values import (
    LegitimateInputs,
    LegitimateValues,
    TensorKind,
    kept_within,
)
from calpow.handler.leakage.model_inputs import ModelInputs
from tests.support.legitimate_tensors import scenes, tensors_of


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((3, 32, 32), torch.float32, TensorKind.images),
        ((1, 8, 8), torch.uint8, TensorKind.images),
        ((3, 4, 5), torch.float32, TensorKind.quantities),
        ((12,), torch.float16, TensorKind.quantities),
        ((12,), torch.int64, TensorKind.whole_numbers),
        ((), torch.bool, TensorKind.whole_numbers),
    ],
)
def test_a_tensor_is_of_images_or_of_quantities_or_of_whole_numbers(
    shape: tuple[int, ...], dtype: torch.dtype, kind: TensorKind
) -> None:
    assert TensorKind.of(shape, dtype) is kind


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_images_have_a_range_and_moments_by_channel(dtype: torch.dtype) -> None:
    inputs = (scenes(3, 16) * torch.tensor([50.0, 100.0, 200.0]).reshape(1, 3, 1, 1)).to(dtype)
    values = LegitimateValues.of([inputs])
    assert values.low.shape == values.high.shape == values.mean.shape == (1, 3, 1, 1)
    for channel in range(3):
        numbers = inputs[:, channel]
        assert (values.low[0, channel], values.high[0, channel]) == (numbers.min(), numbers.max())
        assert float(values.mean[0, channel, 0, 0]) == pytest.approx(float(numbers.float().mean()), rel=1e-4)
        assert float(values.deviation[0, channel, 0, 0]) == pytest.approx(float(numbers.float().std()), rel=1e-3)


def test_columns_of_a_table_have_ranges_of_their_own_and_whole_columns_are_known() -> None:
    rows = torch.tensor([[0.5, 10.0], [1.5, 30.0], [0.75, 20.0]])
    values = LegitimateValues.of([rows])
    assert values.low.tolist() == [[0.5, 10.0]]
    assert values.high.tolist() == [[1.5, 30.0]]
    assert values.is_whole.tolist() == [[False, True]]


def test_samples_of_different_length_share_one_range() -> None:
    values = LegitimateValues.of([torch.tensor([[1.0, 5.0]]), torch.tensor([[2.0, -3.0, 4.0]])])
    assert (values.low.item(), values.high.item()) == (-3, 5)


def padded(leading: bool) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 50, (100, 12), generator=generator)
    filled = torch.where(torch.arange(12) < torch.randint(2, 13, (100, 1), generator=generator), ids, 0)
    return filled.flip(1) if leading else filled


@pytest.mark.parametrize("leading", [False, True])
def test_the_id_that_fills_sequences_up_is_padding_and_is_not_drawn(leading: bool) -> None:
    values = LegitimateValues.of([padded(leading)])
    assert values.padding == 0
    assert bool((values.drawn((1000,), torch.Generator().manual_seed(0)) > 0).all())


def test_an_id_that_occurs_amid_others_is_no_padding_nor_is_a_bit() -> None:
    inputs = padded(leading=False)
    inputs[0, 0] = 0
    inputs[1, -1] = 0
    inputs[2, 3] = 0
    inputs[2, 4] = 7
    assert LegitimateValues.of([inputs]).padding is None
    assert LegitimateValues.of([padded(leading=False).clamp(max=1)]).padding is None


def test_other_samples_are_never_the_sample_itself() -> None:
    rows = torch.arange(30.0).reshape(30, 1).expand(30, 4)
    generator = torch.Generator().manual_seed(0)
    others = LegitimateValues.of([rows]).others(rows, generator)
    assert not bool((others == rows).any())
    calls = [torch.full((1, length), float(length)) for length in range(2, 8)]
    values = LegitimateValues.of(calls)
    for call in calls:
        other = values.others(call, generator)
        assert other.shape == call.shape
        assert not bool((other == call).any())


def test_numbers_are_kept_within_the_range_of_their_channel_and_rounded_where_they_must_be() -> None:
    inputs = (scenes(3, 16) * 200).byte()
    values = LegitimateValues.of([inputs])
    kept = kept_within(torch.randn(24, 3, 16, 16) * 500, inputs, values)
    assert kept.dtype == torch.uint8
    assert bool(((kept >= values.low) & (kept <= values.high)).all())


def test_masks_and_constants_are_no_kind_of_input() -> None:
    mask = (torch.arange(5) < torch.arange(1, 21)[:, None]).long()
    known = LegitimateInputs.of([ModelInputs((tensors_of((5,), dtype=torch.int64),), {"mask": mask, "bias": mask * 0})])
    assert known.kinds == {TensorKind.whole_numbers}
    assert [place is None for place in known.places] == [False, True, True]
