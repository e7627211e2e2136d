"""Attackers that are for images keep to the range and the type of legitimate images by channel."""

import pytest
import torch

from calpow.archiver.calibration.synthetic_inputs.attackers import ATTACKS
from calpow.archiver.calibration.synthetic_inputs.image_attackers import PASTED, blobs, cutmix, inverted
from calpow.archiver.calibration.synthetic_inputs.legitimate_values import LegitimateValues, TensorKind
from calpow.handler.leakage.model_inputs import ModelInputs
from tests.support.legitimate_tensors import changed, changed_calls, scenes

PROCEDURAL = ["dead leaves", "1/f noise", "fractals", "strokes", "gratings"]
MEANS = torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1)


@pytest.mark.parametrize("name", PROCEDURAL)
def test_pictures_keep_to_the_range_of_every_channel_of_normalised_images(name: str) -> None:
    inputs = (scenes(3, 24) - MEANS) / torch.tensor([0.2, 0.1, 0.4]).reshape(1, 3, 1, 1)
    values = LegitimateValues.of([inputs])
    found = changed(ATTACKS[name].make, inputs)
    assert bool((found >= values.low).all())
    assert bool((found <= values.high).all())
    # They use most of it.
    reach = found.amax(dim=(0, 2, 3), keepdim=True) - found.amin(dim=(0, 2, 3), keepdim=True)
    assert bool((reach > 0.9 * values.span).all())


@pytest.mark.parametrize("name", PROCEDURAL)
def test_half_of_the_pictures_have_the_brightness_and_the_contrast_of_legitimate_images(name: str) -> None:
    inputs = scenes(1, 24, samples=60) * 0.2 + 0.4
    inputs[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    values = LegitimateValues.of([inputs])
    found = changed(ATTACKS[name].make, inputs)
    contrast = found.std(dim=(1, 2, 3)) / values.deviation.flatten()
    typical = (contrast > 0.6) & (contrast < 1.4)
    assert 15 <= int(typical.sum()) <= 45
    assert float((found[typical].mean() - values.mean).abs()) < 0.05


@pytest.mark.parametrize("name", PROCEDURAL)
def test_pictures_of_bytes_are_of_bytes(name: str) -> None:
    inputs = (scenes(3, 16) * 255).byte()
    found = changed(ATTACKS[name].make, inputs)
    assert (found.dtype, found.shape) == (torch.uint8, inputs.shape)
    assert int(inputs.min()) <= int(found.min()) < int(found.max()) <= int(inputs.max())


@pytest.mark.parametrize("name", [name for name in ATTACKS if TensorKind.images in ATTACKS[name].kinds])
def test_images_of_any_size_are_attacked_call_by_call(name: str) -> None:
    calls = [ModelInputs.of(scenes(3, side, samples=1)) for side in (20, 24, 31, 22)]
    made = changed_calls(ATTACKS[name].make, calls)
    assert [query.tensors[0].shape for query in made] == [call.tensors[0].shape for call in calls]
    assert not any(query.equals(call) for query, call in zip(made, calls, strict=True))


def test_blobs_are_smooth_and_noise_is_not() -> None:
    inputs = torch.rand(8, 1, 28, 28)
    steps = [float(changed(attack, inputs).diff(dim=3).abs().mean()) for attack in (blobs, ATTACKS["noise"].make)]
    assert steps[0] < 0.3 * steps[1]


def test_cutmix_pastes_a_rectangle_of_another_image_at_the_same_place() -> None:
    inputs = torch.arange(20.0).reshape(20, 1, 1, 1).expand(20, 1, 24, 30).contiguous()
    found = changed(cutmix, inputs)
    for own, image in enumerate(found[:, 0]):
        foreign = image != own
        rows, columns = foreign.any(dim=1), foreign.any(dim=0)
        assert torch.equal(foreign, rows[:, None] & columns[None])
        assert len(set(image[foreign].tolist())) == 1
        for side, size in ((rows, 24), (columns, 30)):
            assert PASTED[0] * size <= int(side.sum()) <= PASTED[1] * size + 1


def test_a_negative_of_a_negative_is_the_image() -> None:
    for inputs in (scenes(3, 16), (scenes(3, 16) * 255).byte()):
        values = LegitimateValues.of([inputs])
        generator = torch.Generator()
        twice = inverted(inverted(inputs, values, generator), values, generator)
        assert torch.allclose(twice.float(), inputs.float(), atol=1e-5)
