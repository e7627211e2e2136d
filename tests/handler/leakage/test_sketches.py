"""Sketches differ in few bits between near-copies and in many between other samples."""

import numpy as np
import pytest
import torch

from calpow.handler.leakage.sketches import Sketcher, distances
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
