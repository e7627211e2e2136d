"""Tolerated changes are small, keep the form of inputs of any range, and are refused where they do not suit."""

import numpy as np
import pytest
import torch
from torch import Tensor

from calpow.archiver.calibration.synthetic_inputs.legitimate_values import (
    Change,
    LegitimateInputs,
    LegitimateValues,
    TensorKind,
)
from calpow.archiver.calibration.synthetic_inputs.tolerances import (
    DEFAULT,
    LOST_WORDS,
    QUANTITY_NOISE,
    TOLERANCES,
    check_tolerances,
    default_tolerances,
    is_harmless,
    tolerances_for,
)
from calpow.archiver.errors import OrderError
from calpow.handler.leakage.model_inputs import ModelInputs
from tests.support.legitimate_tensors import changed, scenes

ON_IMAGES = ("noise", "shift", "flip", "jpeg", "brightness", "blur")
# The least peak signal-to-noise ratio, in decibels, of the smooth pictures here; 20 is a noise of a tenth.
PSNR = {"noise": 25, "shift": 25, "jpeg": 30, "brightness": 20, "blur": 30}
FLOAT, BYTE, ID = torch.float32, torch.uint8, torch.int64


def change(name: str) -> Change:
    return TOLERANCES[name].change


def psnr(left: Tensor, right: Tensor, span: float) -> float:
    return float(10 * torch.log10(span**2 / (left.double() - right.double()).square().mean()))


FORMS = {
    "0 to 1": scenes(3, 32),
    "normalised": (scenes(3, 32) - 0.45) / 0.22,
    "grey, 0 to 255": scenes(1, 28) * 255,
    "bytes": (scenes(3, 32) * 255).byte(),
    "integers": (scenes(1, 16) * 255).long(),
    "half precision": scenes(3, 16).half(),
    "double precision": scenes(3, 16).double(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ON_IMAGES)
def test_images_of_every_range_keep_shape_type_and_range(name: str, form: str) -> None:
    inputs = FORMS[form]
    before = inputs.clone()
    found = changed(change(name), inputs)
    assert (found.shape, found.dtype) == (inputs.shape, inputs.dtype)
    assert torch.equal(inputs, before)
    assert not torch.equal(found, inputs)
    values = LegitimateValues.of([inputs])
    assert bool((found >= values.low).all())
    assert bool((found <= values.high).all())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PSNR)
def test_changes_are_small(name: str, form: str) -> None:
    inputs = FORMS[form]
    span = float(LegitimateValues.of([inputs]).span.double().max())
    assert PSNR[name] < psnr(inputs, changed(change(name), inputs), span) < 60


@pytest.mark.parametrize("name", ["noise", "shift", "brightness"])
def test_the_same_seed_changes_alike_and_another_otherwise(name: str) -> None:
    inputs = FORMS["0 to 1"]
    first, again, other = (changed(change(name), inputs, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_normalised_images_change_as_the_pictures_that_they_come_from() -> None:
    inputs = FORMS["0 to 1"]
    for name in ON_IMAGES:
        normalised = changed(change(name), (inputs - 0.45) / 0.22) * 0.22 + 0.45
        assert torch.allclose(normalised, changed(change(name), inputs), atol=0.02)


def test_noise_has_a_twentieth_of_the_range() -> None:
    inputs = torch.full((50, 1, 20, 20), 5.0)
    inputs[0, 0, 0, :2] = torch.tensor([0.0, 10.0])
    away = (changed(change("noise"), inputs) - inputs)[1:]
    assert float(away.std()) == pytest.approx(0.5, rel=0.03)


def test_a_shift_moves_every_image_by_one_pixel_in_all_eight_directions_and_repeats_the_edge() -> None:
    inputs = torch.zeros(200, 1, 9, 9)
    inputs[:, :, 4, 4] = 1
    places = changed(change("shift"), inputs).flatten(1).argmax(dim=1)
    moves = {(int(place) // 9 - 4, int(place) % 9 - 4) for place in places}
    assert moves == {(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)} - {(0, 0)}
    plain = torch.arange(20.0).reshape(20, 1, 1, 1).expand(20, 1, 9, 9)
    assert torch.equal(changed(change("shift"), plain), plain)


def test_a_flip_of_a_flip_is_the_image() -> None:
    inputs = FORMS["bytes"]
    assert torch.equal(changed(change("flip"), changed(change("flip"), inputs)), inputs)


def test_brightness_keeps_black_and_white_and_the_order_of_tones() -> None:
    inputs = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8).repeat(20, 1, 1, 1)
    found = changed(change("brightness"), inputs)
    assert bool((found[:, :, 0, 0] == 0).all())
    assert bool((found[:, :, -1, -1] == 1).all())
    assert bool((found.flatten(1).diff(dim=1) > 0).all())
    assert 0 < int((found.mean(dim=(1, 2, 3)) > 0.5).sum()) < 20, "some brighter, some darker"


def test_images_beyond_the_range_that_was_measured_stay_there() -> None:
    values = LegitimateValues.of([scenes(1, 16)])
    brighter = scenes(1, 16) + 2
    for name in ("noise", "blur"):
        found = change(name)(brighter, values, torch.Generator().manual_seed(0))
        assert float((found - brighter).abs().mean()) < 0.1


def test_noise_of_tables_is_small_beside_each_columns_own_spread_and_leaves_categories() -> None:
    generator = torch.Generator().manual_seed(0)
    category = torch.randint(0, 3, (2000,), generator=generator).float()
    columns = [torch.randn(2000, generator=generator) * scale for scale in (0.01, 100)]
    rows = torch.stack([*columns, category], dim=1)
    away = (changed(change("noise"), rows, 1) - rows).std(dim=0) / rows.std(dim=0)
    assert away[:2].tolist() == pytest.approx([QUANTITY_NOISE] * 2, rel=0.1)
    assert float(away[2]) == 0


def test_a_tenth_of_the_words_is_lost_and_padding_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 500, (300, 40), generator=generator)
    padded = torch.where(torch.arange(40) < torch.randint(8, 41, (300, 1), generator=generator), ids, 0)
    for inputs in (ids, padded):
        found = changed(change("words"), inputs, 1)
        words = inputs != 0
        assert float((found != inputs)[words].float().mean()) == pytest.approx(LOST_WORDS, abs=0.01)
        assert bool((found == inputs)[~words].all())
    assert bool((found[found != padded] == 0).all())


def test_arguments_of_several_tensors_are_changed_each_by_itself_and_masks_stay() -> None:
    mask = (torch.arange(6) < 4).long().repeat(40, 1)
    mask[:5] = 1
    inputs = ModelInputs((torch.randn(40, 6),), {"mask": mask})
    known = LegitimateInputs.of([inputs])
    found = known.changed(inputs, change("noise"), torch.Generator().manual_seed(0))
    assert torch.equal(found.tensors[1], mask)
    assert 0 < float((found.tensors[0] - inputs.tensors[0]).abs().max()) < 0.2


@pytest.mark.parametrize(
    ("shape", "dtype", "suitable", "default"),
    [
        ((3, 32, 32), FLOAT, ON_IMAGES, ("noise", "shift", "jpeg", "flip")),
        ((1, 28, 28), BYTE, ON_IMAGES, ("noise", "shift", "jpeg", "flip")),
        ((4, 32, 32), FLOAT, ("noise", "shift", "flip", "brightness", "blur"), ("noise", "shift", "flip")),
        ((12,), FLOAT, ("noise",), ("noise",)),
        ((12,), ID, ("words",), ()),
        (None, FLOAT, ("noise",), ("noise",)),
        (None, ID, ("words",), ()),
    ],
)
def test_every_form_of_input_has_its_changes_and_its_default(
    shape: tuple[int, ...] | None, dtype: torch.dtype, suitable: tuple[str, ...], default: tuple[str, ...]
) -> None:
    assert tolerances_for(shape, dtype) == suitable
    assert default_tolerances(shape, dtype) == default
    check_tolerances(suitable, shape, dtype)
    assert set(default) <= set(DEFAULT[TensorKind.of(shape or (), dtype)])


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("flip", (12,), FLOAT, "flips are for images, and the model takes inputs of shape (12,): leave it out"),
        (
            "jpeg",
            (4, 32, 32),
            FLOAT,
            "JPEG is for images of one or three channels, and the model takes inputs of shape",
        ),
        (
            "noise",
            (12,),
            ID,
            "noise is for images and floating-point numbers, and the model takes inputs of shape (12,)",
        ),
        ("blur", None, FLOAT, "blur is for images, and the model takes inputs of several shapes: leave it out"),
        ("words", (3, 32, 32), BYTE, "words are whole numbers, and the model takes inputs of shape (3, 32, 32)"),
        ("haze", (3, 32, 32), FLOAT, "give some of noise, shift, flip, jpeg, brightness, blur, words, or none"),
    ],
)
def test_a_change_that_does_not_suit_is_refused_in_one_line(
    name: str, shape: tuple[int, ...] | None, dtype: torch.dtype, message: str
) -> None:
    with pytest.raises(OrderError) as refusal:
        check_tolerances(("noise", name) if shape == (3, 32, 32) else (name,), shape, dtype)
    assert str(refusal.value).startswith(f"--tolerate {name}: {message}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "most"), [("flip", 0.02), ("noise", 0.1), ("jpeg", 0.1)])
def test_a_change_is_harmless_where_it_costs_few_right_answers(name: str, most: float) -> None:
    classes = np.arange(1000) % 10
    answers = np.where(np.arange(1000) < 900, classes, 10)
    allowed, too_many = (
        np.where(np.arange(1000) < 900 - lost, classes, 10) for lost in (1000 * most - 5, 1000 * most + 5)
    )
    assert is_harmless(name, answers, allowed, classes)
    assert not is_harmless(name, answers, too_many, classes)
    assert is_harmless(name, answers, classes, classes)
