"""Sketches differ in few bits between near-copies and in many between other samples."""

import tracemalloc

import numpy as np
import pytest
import torch

from calpow.handler.leakage.input_range import measure_range
from calpow.handler.leakage.sketches import Sketcher, distances, measure_spacing
from calpow.handler.leakage.specs import InputRange
from calpow.handler.ledger.history import SKETCH_BITS, SKETCH_BYTES
from tests.support.small_images import NEAR_COPIES, digit_images

SKETCHER = Sketcher(InputRange((0.0,), (1.0,)))
IMAGES = digit_images(200)
RNG = torch.Generator().manual_seed(0)


def moved(inputs: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    """Return in how many bits the sketches of inputs differ from those of others, one by one."""
    return np.diag(distances(SKETCHER.sketches(inputs), SKETCHER.sketches(others)))


@pytest.mark.parametrize("change", list(NEAR_COPIES))
def test_nine_of_ten_near_copies_of_images_are_nearer_than_nine_of_ten_other_images(change: str) -> None:
    between = distances(SKETCHER.sketches(IMAGES), SKETCHER.sketches(IMAGES))
    np.fill_diagonal(between, SKETCH_BITS)
    copies = moved(IMAGES, NEAR_COPIES[change](IMAGES))
    assert np.percentile(copies, 90) < np.percentile(between.min(axis=1), 10)
    assert np.percentile(copies, 90) < np.percentile(between, 1) / 2


@pytest.mark.parametrize(
    "inputs",
    [
        torch.rand(5, 3, 32, 32, generator=RNG),
        torch.rand(5, 32, 30, 3, generator=RNG),
        torch.rand(5, 1, 28, 28, generator=RNG),
        torch.rand(5, 64, 9, 9, generator=RNG),
        torch.rand(5, 9, generator=RNG),
        torch.rand(5, 40, 80, generator=RNG),
        torch.randint(0, 30_000, (5, 40), generator=RNG),
        torch.randint(0, 255, (5, 3, 20, 20), generator=RNG, dtype=torch.uint8),
    ],
    ids=["colours", "channels last", "grey", "many channels", "table", "sequence", "tokens", "bytes"],
)
def test_a_batch_has_the_sketches_that_its_samples_have_alone(inputs: torch.Tensor) -> None:
    sketches = SKETCHER.sketches(inputs)
    assert sketches.shape == (5, SKETCH_BYTES)
    for row, sketch in enumerate(sketches):
        assert (SKETCHER.sketches(inputs[row : row + 1]) == sketch).all()
    between = distances(sketches, sketches)
    assert (np.diag(between) == 0).all()
    assert (between[~np.eye(5, dtype=bool)] > 20).all()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_numbers_have_almost_the_same_sketch(kind: torch.dtype) -> None:
    assert moved(IMAGES, IMAGES.to(kind)).max() <= 6


def test_rows_of_a_table_are_seen_within_the_range_of_their_columns() -> None:
    low, high = (0.0, 1000.0, -5.0, 0.0), (1.0, 3000.0, 5.0, 0.0)
    sketcher = Sketcher(InputRange(low, high))
    rows = torch.tensor(low) + torch.rand(50, 4, generator=RNG) * (torch.tensor(high) - torch.tensor(low))
    near = rows * 1.001
    between = distances(sketcher.sketches(rows), sketcher.sketches(rows))
    assert np.diag(distances(sketcher.sketches(rows), sketcher.sketches(near))).max() <= 4
    assert np.percentile(between[~np.eye(50, dtype=bool)], 5) > 10


def skewed_table(count: int, seed: int) -> torch.Tensor:
    """Return rows of a class whose columns have long tails: sizes that follow one another, a price, and a category."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(0, 0.5, count)
    sizes = [size * rng.normal(1, 0.05, count) for _ in range(3)]
    others = [rng.lognormal(8, 1, count), rng.normal(60, 2, count)]
    categories = np.eye(6)[rng.choice(6, count, p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01])]
    return torch.tensor(np.column_stack([*sizes, *others, categories]), dtype=torch.float32)


TABLE = skewed_table(1_000, 0)
OF_TABLE = Sketcher(measure_range(TABLE))


def test_near_copies_of_a_tables_rows_are_nearer_than_the_nearest_of_256_other_rows() -> None:
    rows = skewed_table(257, 1)
    sketches = OF_TABLE.sketches(rows)
    noise = 0.02 * TABLE[:, :5].std(dim=0) * torch.randn(257, 5, generator=torch.Generator().manual_seed(1))
    copies = torch.cat([rows[:, :5] + noise, rows[:, 5:]], dim=1)
    between = distances(sketches, sketches)
    np.fill_diagonal(between, SKETCH_BITS)
    copied = np.diag(distances(sketches, OF_TABLE.sketches(copies)))
    assert np.percentile(copied, 90) < np.percentile(between.min(axis=1), 10)


def test_the_further_a_rows_number_moves_the_more_bits_differ_until_half_of_them_do() -> None:
    rows = skewed_table(100, 2)
    scale = TABLE[:, 4].amax() - TABLE[:, 4].amin()
    spacing = measure_range(TABLE).spacing
    differing = []
    for spacings in (0.1, 0.5, 1.0, 2.0, 100.0):
        other = rows.clone()
        other[:, 4] += spacings * spacing * scale
        differing.append(np.diag(distances(OF_TABLE.sketches(rows), OF_TABLE.sketches(other))).mean())
    assert differing == sorted(differing)
    assert differing[0] < 5
    assert 15 < differing[2] < 40
    assert 48 < differing[4] < 80


def test_units_of_a_tables_columns_do_not_matter() -> None:
    units = 2.0 ** torch.arange(-5, 6)
    sketches, other = OF_TABLE.sketches(TABLE), Sketcher(measure_range(TABLE * units)).sketches(TABLE * units)
    assert np.diag(distances(sketches, other)).max() <= 4


def test_equal_rows_and_columns_without_variance_have_no_part_in_the_spacing() -> None:
    legitimate = measure_range(TABLE)
    assert legitimate.spacing > 0
    assert measure_spacing(TABLE.repeat(2, 1)[::2], legitimate) == pytest.approx(legitimate.spacing, rel=0.3)
    constant = torch.cat([TABLE, torch.full((1_000, 1), 7.0)], dim=1)
    assert measure_range(constant).spacing == pytest.approx(legitimate.spacing)
    assert measure_range(torch.ones(200, 4)).spacing == 0.0


@pytest.mark.filterwarnings("error")
def test_near_copies_are_recognised_also_where_some_legitimate_rows_are_near_copies_of_others() -> None:
    doubled = TABLE.clone()
    doubled[1::25] = doubled[::25] + 1e-6 * TABLE.std(dim=0)
    legitimate = measure_range(doubled)
    sketcher, rows = Sketcher(legitimate), skewed_table(200, 3)
    low, high = torch.tensor([legitimate.low, legitimate.high])
    noise = 1e-4 * (high - low) * torch.randn(rows.shape, generator=torch.Generator().manual_seed(2))
    copied = np.diag(distances(sketcher.sketches(rows), sketcher.sketches(rows + noise)))
    between = distances(sketcher.sketches(rows), sketcher.sketches(rows))
    assert np.percentile(copied, 90) < np.percentile(between[~np.eye(200, dtype=bool)], 1)


def test_rows_far_beyond_the_range_have_sketches_too() -> None:
    tiny = Sketcher(measure_range(1e-36 * TABLE))
    for number in (1e9, float("inf"), float("nan")):
        assert tiny.sketches(torch.full((2, TABLE.shape[1]), number)).shape == (2, SKETCH_BYTES)


def test_only_numbers_with_a_range_by_place_have_a_spacing() -> None:
    assert measure_range(IMAGES).spacing == 0.0
    assert measure_range(TABLE[:50]).spacing == 0.0
    assert measure_range((10 * TABLE).to(torch.int64)).spacing == 0.0


def test_a_text_is_its_set_of_words_and_padding_says_little() -> None:
    words = torch.randint(1, 10**9, (20, 30), generator=RNG)
    shuffled = words.flip(1)
    assert moved(words, shuffled).max() == 0
    padded = torch.nn.functional.pad(words, (0, 300))
    assert np.percentile(np.diag(distances(SKETCHER.sketches(words), SKETCHER.sketches(padded))), 90) < 15
    one_other = words.clone()
    one_other[:, 4] += 1
    assert np.percentile(moved(words, one_other), 90) < 20
    between = distances(SKETCHER.sketches(words), SKETCHER.sketches(words))
    assert between[~np.eye(20, dtype=bool)].min() > 35


@pytest.mark.parametrize(
    "inputs",
    [torch.zeros(3), torch.zeros(3, 0), torch.zeros(3, 4, dtype=torch.complex64)],
    ids=["flat", "empty", "complex"],
)
def test_inputs_that_cannot_be_sketched_have_empty_sketches(inputs: torch.Tensor) -> None:
    assert SKETCHER.sketches(inputs).shape == (3, 0)


@pytest.mark.parametrize("shape", [(1, 200_000), (256, 800)])
def test_sketches_of_many_whole_numbers_take_little_memory(shape: tuple[int, ...]) -> None:
    numbers = torch.randint(0, 10**6, shape, generator=torch.Generator().manual_seed(0))
    tracemalloc.start()
    try:
        sketches = SKETCHER.sketches(numbers)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert (sketches[-1:] == SKETCHER.sketches(numbers[-1:])).all()


def test_sketches_do_not_change_from_one_version_to_the_next() -> None:
    """They are stored in the ledger, and a calibration's `likeness` is measured with them."""
    ramp = torch.arange(784, dtype=torch.float32).reshape(1, 1, 28, 28) % 97 / 97
    numbers = torch.arange(12, dtype=torch.float32).reshape(1, 12) % 5 / 5
    ids = torch.arange(12).reshape(1, 12) ** 3
    stored = (
        "97816a1edc6922a235601a15273c45ee",
        "2b6874f6b8dc45f4299db6067dc4e6e8",
        "0f48114102080044b4158f269809c9c8",
    )
    for inputs, sketch in zip((ramp, numbers, ids), stored, strict=True):
        known = np.frombuffer(bytes.fromhex(sketch), np.uint8).reshape(1, -1)
        # A sum that is next to nothing may have either sign, by the order of its terms.
        assert distances(SKETCHER.sketches(inputs), known) <= 2
    known = np.frombuffer(bytes.fromhex("1a5ef3aa87ec64cd4e262582c8c94df0"), np.uint8).reshape(1, -1)
    spaced = Sketcher(InputRange((0.0,), (1.0,), 0.125))
    assert distances(spaced.sketches(numbers), known) <= 2
