"""Augmentation: many queries made of a few genuine inputs, every one of them another."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.range.domain import InputKind, StrangerMaker
from benchmarks.range.shifts import levels
from benchmarks.range.vocabulary import PADDING

LARGEST_TURN = 15.0  # degrees
LARGEST_SHIFT = 0.1  # of the side
SCALES = (0.8, 1.1)  # sides of the crop
BRIGHTNESS = (0.7, 1.3)
TABLE_JITTER = 0.1  # of the deviation of a standardised column
LOST_WORDS, REPLACED_WORDS = 0.2, 0.1

Augmentation = Callable[[Tensor, np.random.Generator], Tensor]


def augmented(genuine: int, kind: InputKind, *, flips: bool) -> StrangerMaker:
    """Return a maker of queries from the first `genuine` owned inputs, each with a fresh random change.

    `flips` mirrors half of the images, where that leaves their class.
    """
    augment: Augmentation = _CHANGES[kind]

    def make(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        few = owned[:genuine]
        queries = few[torch.arange(count) % len(few)]
        if flips:
            queries = torch.where(torch.from_numpy(rng.random((count, 1, 1, 1)) < 0.5), queries.flip(3), queries)
        return augment(queries, rng)

    return make


def moved_images(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Turn, shift, crop and brighten every image at random; the edge is repeated beyond the frame."""
    count = len(images)
    turn = np.radians(rng.uniform(-LARGEST_TURN, LARGEST_TURN, count))
    scale, brightness = rng.uniform(*SCALES, count), rng.uniform(*BRIGHTNESS, (count, 1, 1, 1))
    # The frame is 2 wide in the coordinates of the grid.
    across, down = 2 * rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, (2, count))
    rows = [[scale * np.cos(turn), -scale * np.sin(turn), across], [scale * np.sin(turn), scale * np.cos(turn), down]]
    transform = torch.from_numpy(np.array(rows).transpose(2, 0, 1)).float()
    grid = functional.affine_grid(transform, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return levels(moved * torch.from_numpy(brightness).float())


def jittered_rows(rows: Tensor, rng: np.random.Generator) -> Tensor:
    """Add noise to the numbers of every row; columns of zeros and ones stay."""
    jitter = TABLE_JITTER * torch.from_numpy(rng.standard_normal(rows.shape, dtype=np.float32))
    return torch.where((rows == 0) | (rows == 1), rows, rows + jitter)


def reworded_texts(texts: Tensor, rng: np.random.Generator) -> Tensor:
    """Leave words out of every text and replace others by words of all these texts; the first word stays."""
    words = texts[texts != PADDING]
    others = words[torch.from_numpy(rng.integers(len(words), size=texts.shape))]
    is_word = texts != PADDING
    reworded = torch.where(is_word & torch.from_numpy(rng.random(texts.shape) < REPLACED_WORDS), others, texts)
    kept = is_word & torch.from_numpy(rng.random(texts.shape) >= LOST_WORDS)
    kept[:, 0] = True
    order = torch.argsort(~kept, dim=1, stable=True)
    return torch.where(kept, reworded, PADDING).gather(1, order)


_CHANGES = {InputKind.IMAGES: moved_images, InputKind.TABLE: jittered_rows, InputKind.TOKENS: reworded_texts}
