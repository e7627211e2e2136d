"""Near-copies of one legitimate input, which a thief sends as fillers that look new."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from benchmarks.range.domain import InputKind
from benchmarks.range.shifts import levels, translation

NearCopies = Callable[[Tensor, int, np.random.Generator], Tensor]

NOISE = 0.02
# Of the deviation of a standardised column.
TABLE_NOISE = 0.02
GAMMAS, CONTRASTS = (0.7, 1.4), (0.7, 1.0)


def one_pixel(image: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Set one pixel of each copy of an image [channels, height, width] to a random level."""
    copies = _copies(image, count)
    _, _, height, width = copies.shape
    rows, columns = rng.integers(height, size=count), rng.integers(width, size=count)
    copies[torch.arange(count), :, rows, columns] = levels(torch.from_numpy(rng.random((count, 1), np.float32)))
    return copies


def gamma(image: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Raise each copy to a power."""
    return levels(_copies(image, count) ** _factors(GAMMAS, count, rng))


def contrast(image: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Draw each copy closer to a grey of a random level."""
    factors = _factors(CONTRASTS, count, rng)
    return levels(factors * _copies(image, count) + (1 - factors) * _factors((0.0, 1.0), count, rng))


def moved(image: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Move each copy by a pixel, and set one pixel to a random level: there are eight moves only."""
    return translation(one_pixel(image, count, rng), rng)


def noisy(image: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Add a little noise to each copy."""
    copies = _copies(image, count)
    return levels(copies + NOISE * torch.from_numpy(rng.standard_normal(copies.shape, dtype=np.float32)))


def noisy_row(row: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Add a little noise to the numbers of each copy of a row of a table; columns of zeros and ones stay."""
    copies = _copies(row, count)
    error = TABLE_NOISE * torch.from_numpy(rng.standard_normal(copies.shape, dtype=np.float32))
    return torch.where((copies == 0) | (copies == 1), copies, copies + error)


def one_number(row: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Move one number of each copy of a row by up to half a deviation."""
    copies = _copies(row, count)
    numbers = np.flatnonzero(((row != 0) & (row != 1)).numpy())
    places = rng.choice(numbers, count)
    copies[torch.arange(count), places] += torch.from_numpy(rng.uniform(-0.5, 0.5, count).astype(np.float32))
    return copies


def one_word(tokens: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Replace one word of each copy of a text by a random one."""
    copies = _copies(tokens, count)
    words = np.flatnonzero((tokens != 0).numpy())
    copies[torch.arange(count), rng.choice(words, count)] = torch.from_numpy(rng.integers(2, 8_000, count))
    return copies


def reordered(tokens: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Put the words of each copy of a text in random order."""
    copies = _copies(tokens, count)
    words = np.flatnonzero((tokens != 0).numpy())
    orders = np.stack([rng.permutation(words) for _ in range(count)])
    copies[:, words] = tokens[torch.from_numpy(orders)]
    return copies


def changes(kind: InputKind) -> Mapping[str, NearCopies]:
    """Return the ways to make near-copies of inputs of this kind, by name."""
    if kind is InputKind.IMAGES:
        return {"one pixel": one_pixel, "gamma": gamma, "contrast": contrast, "moved": moved, "noise": noisy}
    if kind is InputKind.TABLE:
        return {"noise": noisy_row, "one number": one_number}
    return {"one word": one_word, "reordered": reordered}


def _copies(sample: Tensor, count: int) -> Tensor:
    return sample.expand(count, *sample.shape).clone()


def _factors(bounds: tuple[float, float], count: int, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.uniform(*bounds, (count, 1, 1, 1)).astype(np.float32))
