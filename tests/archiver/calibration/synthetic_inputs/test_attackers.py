"""Reference attackers: made of legitimate inputs of any form, in their range, the same for the same seed."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from calpow.archiver.calibration.synthetic_inputs.attackers import (
    ATTACKS,
    SCALE,
    SEEDS,
    STEP,
    attackers_for,
)
from calpow.archiver.calibration.synthetic_inputs.image_attackers import PATCHES
from calpow.archiver.calibration.synthetic_inputs.legitimate_values import LegitimateInputs, TensorKind, is_discrete
from calpow.handler.leakage.model_inputs import ModelInputs
from tests.support.legitimate_tensors import changed, changed_calls, correlations, tensors_of

SHAPES = [(5,), (2, 3), (3, 4, 5), (1, 8, 8), (3, 9, 14), (2, 28, 28), (2, 2, 2, 2)]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


def names_for(*forms: tuple[tuple[int, ...], torch.dtype]) -> list[str]:
    return [attacker.name for attacker in attackers_for({TensorKind.of(*form) for form in forms})]


def attacks_on(
    shapes: list[tuple[int, ...]], dtypes: list[torch.dtype]
) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    return [(name, *form) for form in product(shapes, dtypes) for name in names_for(form)]


ON_FLOATS = st.sampled_from(attacks_on(SHAPES, [torch.float32]))
SEED = st.integers(0, 1000)
TEXTS = names_for(((10,), torch.int64))
TABLES = names_for(((10,), torch.float32))


def queries_of(name: str, inputs: Tensor, seed: int) -> Tensor:
    return changed(ATTACKS[name].make, inputs, seed)


def queries(name: str, inputs: list[ModelInputs], seed: int = 0) -> list[ModelInputs]:
    return changed_calls(ATTACKS[name].make, inputs, seed)


def test_every_kind_of_input_has_attackers_with_data_of_their_own_and_attackers_who_change_legitimate_samples() -> None:
    for kind in TensorKind:
        attackers = attackers_for({kind})
        assert sum(attacker.own_data for attacker in attackers) >= 3
        assert sum(not attacker.own_data for attacker in attackers) >= 3
    assert {"dead leaves", "1/f noise", "fractals", "strokes"} < set(names_for(((3, 32, 32), torch.float32)))
    assert "cutmix" not in TABLES + TEXTS
    assert {"gaussian", "one column", "extremes"} < set(TABLES)
    assert {"frequent", "repeated", "mixed"} < set(TEXTS)


def test_of_inputs_of_several_kinds_only_attackers_that_suit_all_are_taken() -> None:
    inputs = ModelInputs((tensors_of((10,), dtype=torch.int64), tensors_of((6,))), {})
    kinds = LegitimateInputs.of([inputs]).kinds
    assert kinds == {TensorKind.whole_numbers, TensorKind.quantities}
    assert {attacker.name for attacker in attackers_for(kinds)} == {"noise", "perturbed", "shuffled"}


@given(attack=ON_FLOATS, seed=SEED)
def test_every_attack_keeps_form_type_and_range_and_leaves_the_legitimate_alone(
    attack: tuple[str, tuple[int, ...], torch.dtype], seed: int
) -> None:
    name, shape, dtype = attack
    inputs = tensors_of(shape, seed)
    before = inputs.clone()
    found = queries_of(name, inputs, seed)
    assert (found.shape, found.dtype) == (inputs.shape, dtype)
    slack = 1e-5 * float(inputs.abs().max())
    times = SCALE if name == "scaled" else 1.0
    assert times * float(inputs.min()) - slack * times <= float(found.min())
    assert float(found.max()) <= times * (float(inputs.max()) + slack)
    assert torch.equal(inputs, before)
    assert not torch.equal(found, inputs)


@given(attack=ON_FLOATS, seed=SEED)
def test_the_same_seed_makes_the_same_queries_and_another_makes_others(
    attack: tuple[str, tuple[int, ...], torch.dtype], seed: int
) -> None:
    name, shape, _ = attack
    inputs = tensors_of(shape, seed)
    found = queries_of(name, inputs, seed)
    assert torch.equal(found, queries_of(name, inputs, seed))
    # Of five numbers there are 32 directions, so that two seeds in 32 may have the same one.
    others = [queries_of(name, inputs, seed + number) for number in range(1, 9)]
    assert (name == "inverted") == all(torch.equal(found, other) for other in others)


@pytest.mark.parametrize(("name", "shape", "dtype"), attacks_on([(5,), (3, 8, 8)], FLOATS))
def test_floating_point_numbers_of_every_precision_are_attacked(
    name: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    inputs = tensors_of(shape, dtype=dtype)
    attack = queries_of(name, inputs, 0)
    assert (attack.shape, attack.dtype) == (inputs.shape, dtype)
    assert bool(attack.isfinite().all())
    assert not torch.equal(attack, inputs)
    times = SCALE if name == "scaled" else 1.0
    slack = 0.05 * float(inputs.abs().max()) * times
    assert float(attack.max()) <= times * float(inputs.max()) + slack


@pytest.mark.parametrize(("name", "shape", "dtype"), attacks_on([(12,), (3, 8, 8)], WHOLE))
def test_whole_numbers_stay_whole_and_in_their_range(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    inputs = tensors_of(shape, dtype=dtype)
    attack = queries_of(name, inputs, 0)
    assert (attack.shape, attack.dtype) == (inputs.shape, dtype)
    assert int(attack.min()) >= int(inputs.min())
    assert int(attack.max()) <= int(inputs.max())
    # Two numbers for both ends of the range, several for the most frequent ones.
    assert len(set(attack.flatten().tolist())) >= {"scaled": 2, "frequent": 4}.get(name, 10), "not constant"
    assert not torch.equal(attack, inputs)


@pytest.mark.parametrize(("name", "shape", "dtype"), attacks_on([(12,), (1, 8, 8)], [torch.bool]))
def test_bools_stay_bools(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    inputs = torch.rand(50, *shape, generator=torch.Generator().manual_seed(0)) < 0.3
    attack = queries_of(name, inputs, 0)
    assert attack.dtype == dtype
    assert set(attack.flatten().tolist()) == {False, True}
    # Rounding hides a small step.
    assert name in ("perturbed", "mixup", "jacobian") or not torch.equal(attack, inputs)


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS[name].own_data])
def test_queries_of_own_data_are_unlike_the_legitimate_samples_they_stand_for(name: str) -> None:
    kinds = {TensorKind.images: ((3, 16, 16), torch.float32), TensorKind.quantities: ((200,), torch.float32)}
    kinds[TensorKind.whole_numbers] = ((200,), torch.int64)
    for kind in ATTACKS[name].kinds:
        shape, dtype = kinds[kind]
        inputs = tensors_of(shape, samples=50, dtype=dtype)
        assert abs(float(correlations(inputs, queries_of(name, inputs, 1)).mean())) < 0.1


@pytest.mark.parametrize("name", ["perturbed", "mixup", "cutmix", "one column", "mixed"])
def test_changed_samples_are_like_the_legitimate_ones_they_are_made_of(name: str) -> None:
    (kind, *_) = ATTACKS[name].kinds
    shape, dtype = {
        TensorKind.images: ((3, 16, 16), torch.float32),
        TensorKind.quantities: ((30,), torch.float32),
        TensorKind.whole_numbers: ((30,), torch.int64),
    }[kind]
    inputs = tensors_of(shape, samples=50, dtype=dtype)
    assert float(correlations(inputs, queries_of(name, inputs, 1)).mean()) > 0.4


def test_a_jacobian_augmentation_moves_a_few_samples_by_steps_along_shared_directions() -> None:
    inputs = torch.rand(200, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    inputs[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    moved = queries_of("jacobian", inputs, 0)
    steps = moved - inputs[torch.arange(200) % SEEDS]
    assert torch.allclose(steps[1:SEEDS], steps[1].expand_as(steps[1:SEEDS]), atol=1e-6)
    assert torch.allclose(steps[SEEDS + 1].abs(), torch.tensor(STEP), atol=1e-6)
    both = steps[1] + steps[SEEDS + 1]
    assert torch.allclose(steps[2 * SEEDS + 1], both, atol=1e-6)


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


@given(shape=st.sampled_from(SHAPES), seed=SEED)
def test_a_perturbed_query_is_a_tenth_of_the_range_away_at_most(shape: tuple[int, ...], seed: int) -> None:
    inputs = tensors_of(shape, seed)
    away = (queries_of("perturbed", inputs, seed) - inputs).abs()
    assert float(away.max()) <= STEP * float(inputs.max() - inputs.min()) * 1.001


@given(shape=st.sampled_from([(1, 8, 8), (3, 12, 16), (1, 28, 28)]), seed=SEED)
def test_shuffled_patches_are_the_images_own(shape: tuple[int, ...], seed: int) -> None:
    inputs = tensors_of(shape, seed)
    attack = queries_of("shuffled", inputs, seed)
    tall, wide = shape[1] // PATCHES, shape[2] // PATCHES

    def patches(image: Tensor) -> list[list[float]]:
        rows = image.unfold(1, tall, tall).unfold(2, wide, wide).permute(1, 2, 0, 3, 4)
        return sorted(rows.reshape(PATCHES * PATCHES, -1).tolist())

    for image, moved in zip(inputs, attack, strict=True):
        assert patches(moved) == patches(image)


def test_rows_and_columns_beyond_the_patches_stay() -> None:
    inputs = tensors_of((1, 9, 11), 0)
    moved = queries_of("shuffled", inputs, 0)
    assert torch.equal(moved[:, :, 8:], inputs[:, :, 8:])
    assert torch.equal(moved[:, :, :, 8:], inputs[:, :, :, 8:])


@given(shape=st.sampled_from([(5,), (2, 3), (3, 4, 5)]), seed=SEED)
def test_values_of_what_is_no_image_are_swapped_between_samples(shape: tuple[int, ...], seed: int) -> None:
    inputs = tensors_of(shape, seed)
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


@pytest.mark.parametrize("name", names_for(((10,), torch.int64), ((6,), torch.float32)))
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


@pytest.mark.parametrize("name", TEXTS)
def test_zeros_and_ones_that_are_all_there_is_are_no_mask(name: str) -> None:
    bits = MASK.flip(1)
    for inputs in (ModelInputs.of(bits), ModelInputs.of(bits.bool()), ModelInputs((bits, bits.bool()), {})):
        (query,) = queries(name, [inputs])
        assert not any(torch.equal(new, old) for new, old in zip(query.tensors, inputs.tensors, strict=True))


@pytest.mark.parametrize("hidden", [-torch.inf, torch.finfo(torch.float32).min, 0.0])
def test_masks_of_floating_point_numbers_stay(hidden: float) -> None:
    shown = 0.0 if hidden else 1.0
    mask = torch.where(MASK.bool(), shown, hidden)
    for name in TABLES:
        made = queries(
            name, [ModelInputs((row, part), {}) for row, part in zip(ROWS[:, None], mask[:, None], strict=True)]
        )
        assert torch.equal(torch.cat([query.tensors[1] for query in made]), mask)
        assert bool(torch.cat([query.tensors[0] for query in made]).isfinite().all())


def test_empty_sequences_are_let_through() -> None:
    sequences = [torch.empty(1, 0, dtype=torch.int64), torch.tensor([[3, 5, 9, 4]])]
    for name in TEXTS:
        made = queries(name, [ModelInputs.of(sequence) for sequence in sequences])
        assert [query.tensors[0].shape for query in made] == [(1, 0), (1, 4)]


@pytest.mark.parametrize(("name", "whole"), [*product(TABLES, [False]), *product(TEXTS, [True])])
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


@pytest.mark.parametrize("name", TABLES)
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
