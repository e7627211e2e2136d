"""Reference attackers: made of legitimate inputs of any form, in their range, the same for the same seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from calpow.archiver.calibration.attackers import (
    ATTACKS,
    PATCHES,
    SCALE,
    STEP,
    LegitimateValues,
    attack_queries,
    is_discrete,
)
from calpow.handler.leakage.model_inputs import ModelInputs

SHAPES = st.sampled_from([(5,), (2, 3), (3, 4, 5), (1, 8, 8), (3, 9, 14), (2, 28, 28), (2, 2, 2, 2)])
IMAGES = st.sampled_from([(1, 8, 8), (3, 12, 16), (1, 28, 28)])
SEEDS = st.integers(0, 1000)
NAMES = st.sampled_from(sorted(ATTACKS))
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


def inputs_of(shape: tuple[int, ...], seed: int, samples: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, *shape, generator=generator) * 3 + torch.randn(1, generator=generator)


def queries_of(name: str, inputs: Tensor, seed: int) -> Tensor:
    return ATTACKS[name](inputs, LegitimateValues.of([inputs]), torch.Generator().manual_seed(seed))


def queries(name: str, inputs: list[ModelInputs], seed: int = 0) -> list[ModelInputs]:
    return attack_queries(ATTACKS[name], inputs, torch.Generator().manual_seed(seed))


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


@pytest.mark.parametrize("shape", [(5,), (3, 8, 8)])
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("kind", FLOATS)
def test_floating_point_numbers_of_every_precision_are_attacked(
    kind: torch.dtype, name: str, shape: tuple[int, ...]
) -> None:
    inputs = inputs_of(shape, 0, samples=20).to(kind)
    attack = queries_of(name, inputs, 0)
    assert (attack.shape, attack.dtype) == (inputs.shape, kind)
    assert bool(attack.isfinite().all())
    assert not torch.equal(attack, inputs)
    times = SCALE if name == "scaled" else 1.0
    slack = 0.05 * float(inputs.abs().max()) * times
    assert float(attack.max()) <= times * float(inputs.max()) + slack


@pytest.mark.parametrize("shape", [(12,), (3, 8, 8)])
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_stay_whole_and_in_their_range(kind: torch.dtype, name: str, shape: tuple[int, ...]) -> None:
    inputs = torch.randint(3, 90, (20, *shape), generator=torch.Generator().manual_seed(0)).to(kind)
    attack = queries_of(name, inputs, 0)
    assert (attack.shape, attack.dtype) == (inputs.shape, kind)
    assert int(attack.min()) >= int(inputs.min())
    assert int(attack.max()) <= int(inputs.max())
    assert len(set(attack.flatten().tolist())) > 10, "not constant"
    assert not torch.equal(attack, inputs)


@pytest.mark.parametrize("name", ATTACKS)
def test_bools_stay_bools(name: str) -> None:
    inputs = torch.rand(50, 12, generator=torch.Generator().manual_seed(0)) < 0.3
    attack = queries_of(name, inputs, 0)
    assert attack.dtype == torch.bool
    assert set(attack.flatten().tolist()) == {False, True}
    assert not torch.equal(attack, inputs)


def test_noise_of_whole_numbers_is_uniform_to_both_ends_of_their_range() -> None:
    inputs = torch.tensor([[2, 2, 2, 2, 5]]).expand(4000, 5)
    counts = torch.bincount(queries_of("noise", inputs, 0).flatten(), minlength=6)[2:]
    assert counts.sum() == 20_000
    assert bool(((counts - 5000).abs() < 400).all())


def test_shuffled_words_keep_the_frequency_of_their_use() -> None:
    inputs = torch.tensor([[7, 7, 7, 1]]).expand(3000, 4)
    moved = queries_of("shuffled", inputs, 0)
    assert set(moved.flatten().tolist()) == {1, 7}
    assert float((moved == 7).double().mean()) == pytest.approx(0.75, abs=0.02)


def test_a_tenth_of_whole_numbers_is_replaced_in_a_perturbed_query() -> None:
    inputs = torch.randint(0, 1000, (200, 20), generator=torch.Generator().manual_seed(0))
    changed = queries_of("perturbed", inputs, 0) != inputs
    assert float(changed.double().mean()) == pytest.approx(STEP, abs=0.02)


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
    moved = queries_of("shuffled", inputs, 0)
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


IDS = torch.randint(5, 60, (30, 10), generator=torch.Generator().manual_seed(1))
ROWS = torch.randn(30, 6, generator=torch.Generator().manual_seed(2))
MASK = (torch.arange(10) < torch.randint(3, 11, (30, 1), generator=torch.Generator().manual_seed(3))).long()


@pytest.mark.parametrize("name", ATTACKS)
def test_of_several_tensors_masks_and_constants_stay_and_others_are_attacked(name: str) -> None:
    inputs = ModelInputs(({"ids": IDS, "rows": ROWS},), {"mask": MASK, "offset": torch.zeros(30, 1), "size": 3})
    (query,) = queries(name, [inputs])
    ids, rows, mask, offset = query.tensors
    assert torch.equal(mask, MASK)
    assert torch.equal(offset, torch.zeros(30, 1))
    assert query.named["size"] == 3
    assert not torch.equal(ids, IDS)
    assert not torch.equal(rows, ROWS)
    assert (ids.dtype, rows.dtype) == (torch.int64, torch.float32)
    assert bool(((ids >= 5) & (ids < 60)).all())
    assert torch.equal(inputs.tensors[0], IDS)


@pytest.mark.parametrize("name", ATTACKS)
def test_zeros_and_ones_that_are_all_there_is_are_no_mask(name: str) -> None:
    bits = MASK.flip(1)
    for inputs in (ModelInputs.of(bits), ModelInputs.of(bits.bool()), ModelInputs((bits, bits.bool()), {})):
        (query,) = queries(name, [inputs])
        assert not any(torch.equal(new, old) for new, old in zip(query.tensors, inputs.tensors, strict=True))


@pytest.mark.parametrize("hidden", [-torch.inf, torch.finfo(torch.float32).min, 0.0])
def test_masks_of_floating_point_numbers_stay(hidden: float) -> None:
    shown = 0.0 if hidden else 1.0
    mask = torch.where(MASK.bool(), shown, hidden)
    for name in ATTACKS:
        made = queries(
            name, [ModelInputs((row, part), {}) for row, part in zip(ROWS[:, None], mask[:, None], strict=True)]
        )
        assert torch.equal(torch.cat([query.tensors[1] for query in made]), mask)
        assert bool(torch.cat([query.tensors[0] for query in made]).isfinite().all())


def test_empty_sequences_are_let_through() -> None:
    sequences = [torch.empty(1, 0, dtype=torch.int64), torch.tensor([[3, 5, 9, 4]])]
    for name in ATTACKS:
        made = queries(name, [ModelInputs.of(sequence) for sequence in sequences])
        assert [query.tensors[0].shape for query in made] == [(1, 0), (1, 4)]


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("whole", [False, True])
def test_sequences_of_any_length_are_attacked_call_by_call(name: str, whole: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = (14, 29, 1, 16)
    sequences = [
        torch.randint(1, 50, (1, length), generator=generator)
        if whole
        else torch.randn(1, length, 3, generator=generator)
        for length in lengths
    ]
    made = [query.tensors[0] for query in queries(name, [ModelInputs.of(sequence) for sequence in sequences])]
    assert [tensor.shape for tensor in made] == [sequence.shape for sequence in sequences]
    assert [tensor.dtype for tensor in made] == [sequence.dtype for sequence in sequences]
    assert is_discrete(made[0]) is whole
    assert any(not torch.equal(tensor, sequence) for tensor, sequence in zip(made, sequences, strict=True))


@pytest.mark.parametrize("name", ATTACKS)
def test_one_sample_without_an_axis_of_the_batch_is_attacked(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    samples = [ModelInputs.of(torch.randn(8, generator=generator)) for _ in range(30)]
    made = queries(name, samples)
    assert all(query.tensors[0].shape == (8,) for query in made)
    assert not any(query.equals(sample) for query, sample in zip(made, samples, strict=True))


def test_the_only_row_of_every_call_is_swapped_with_those_of_other_calls() -> None:
    rows = [torch.full((1, 4), float(number)) for number in range(20)]
    made = torch.cat([query.tensors[0] for query in queries("shuffled", [ModelInputs.of(row) for row in rows])])
    assert len({tuple(row) for row in made.tolist()}) > 15
    assert not torch.equal(made, torch.cat(rows))
