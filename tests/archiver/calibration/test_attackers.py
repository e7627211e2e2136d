"""Reference attackers: made of legitimate inputs of any form, in their range, the same for the same seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from calpow.archiver.calibration.attackers import ATTACKS, PATCHES, SCALE, STEP, shuffled

SHAPES = st.sampled_from([(5,), (2, 3), (3, 4, 5), (1, 8, 8), (3, 9, 14), (2, 28, 28), (2, 2, 2, 2)])
IMAGES = st.sampled_from([(1, 8, 8), (3, 12, 16), (1, 28, 28)])
SEEDS = st.integers(0, 1000)
NAMES = st.sampled_from(sorted(ATTACKS))


def inputs_of(shape: tuple[int, ...], seed: int, samples: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, *shape, generator=generator) * 3 + torch.randn(1, generator=generator)


def queries_of(name: str, inputs: Tensor, seed: int) -> Tensor:
    return ATTACKS[name](inputs, torch.Generator().manual_seed(seed))


@given(name=NAMES, shape=SHAPES, seed=SEEDS)
def test_every_attack_keeps_form_type_and_range_and_leaves_the_legitimate_alone(
    name: str, shape: tuple[int, ...], seed: int
) -> None:
    inputs = inputs_of(shape, seed)
    before = inputs.clone()
    attack = queries_of(name, inputs, seed)
    assert (attack.shape, attack.dtype) == (inputs.shape, inputs.dtype)
    slack = 1e-5 * float(inputs.abs().max())
    times = SCALE if name == "scaled" else 1.0
    assert times * float(inputs.min()) - slack * times <= float(attack.min())
    assert float(attack.max()) <= times * (float(inputs.max()) + slack)
    assert torch.equal(inputs, before)
    assert not torch.equal(attack, inputs)


@given(name=NAMES, shape=SHAPES, seed=SEEDS)
def test_the_same_seed_makes_the_same_queries_and_another_makes_others(
    name: str, shape: tuple[int, ...], seed: int
) -> None:
    inputs = inputs_of(shape, seed, samples=20)
    assert torch.equal(queries_of(name, inputs, seed), queries_of(name, inputs, seed))
    assert not torch.equal(queries_of(name, inputs, seed), queries_of(name, inputs, seed + 1))


@pytest.mark.parametrize("name", ["noise", "perturbed", "blobs"])
def test_places_of_a_vector_keep_their_own_ranges(name: str) -> None:
    inputs = torch.stack([torch.rand(50), 100 + torch.rand(50)], dim=1)
    attack = queries_of(name, inputs, 0)
    assert float(attack[:, 0].max()) <= 1.001
    assert float(attack[:, 1].min()) >= 99.999


@given(shape=SHAPES, seed=SEEDS)
def test_a_perturbed_query_is_a_tenth_of_the_range_away_at_most(shape: tuple[int, ...], seed: int) -> None:
    inputs = inputs_of(shape, seed)
    away = (queries_of("perturbed", inputs, seed) - inputs).abs()
    assert float(away.max()) <= STEP * float(inputs.max() - inputs.min()) * 1.001


@given(shape=IMAGES, seed=SEEDS)
def test_shuffled_patches_are_the_images_own(shape: tuple[int, ...], seed: int) -> None:
    inputs = inputs_of(shape, seed)
    attack = queries_of("shuffled", inputs, seed)
    tall, wide = shape[1] // PATCHES, shape[2] // PATCHES

    def patches(image: Tensor) -> list[list[float]]:
        rows = image.unfold(1, tall, tall).unfold(2, wide, wide).permute(1, 2, 0, 3, 4)
        return sorted(rows.reshape(PATCHES * PATCHES, -1).tolist())

    for image, moved in zip(inputs, attack, strict=True):
        assert patches(moved) == patches(image)


def test_rows_and_columns_beyond_the_patches_stay() -> None:
    inputs = inputs_of((1, 9, 11), 0)
    moved = shuffled(inputs, torch.Generator().manual_seed(0))
    assert torch.equal(moved[:, :, 8:], inputs[:, :, 8:])
    assert torch.equal(moved[:, :, :, 8:], inputs[:, :, :, 8:])


@given(shape=st.sampled_from([(5,), (2, 3), (3, 4, 5)]), seed=SEEDS)
def test_values_of_what_is_no_image_are_swapped_between_samples(shape: tuple[int, ...], seed: int) -> None:
    inputs = inputs_of(shape, seed)
    moved = queries_of("shuffled", inputs, seed)
    assert torch.equal(moved.sort(dim=0).values, inputs.sort(dim=0).values)


def test_blobs_are_smooth_and_noise_is_not() -> None:
    inputs = torch.rand(8, 1, 28, 28)
    steps = {name: float(queries_of(name, inputs, 0).diff(dim=3).abs().mean()) for name in ("blobs", "noise")}
    assert steps["blobs"] < 0.3 * steps["noise"]
    flat = queries_of("blobs", torch.rand(500, 6), 0)
    assert float((flat.amax(dim=1) - flat.amin(dim=1)).mean()) < 0.2, "one level a sample"
