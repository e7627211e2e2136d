"""Strangers that are made of legitimate images: they share pixels with them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.range.domain import StrangerMaker
from benchmarks.range.shifts import levels, noise

MIXUP_SHARE = 0.5
_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def sample(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return `count` of the inputs in random order, each once where there are enough."""
    size = len(owned)
    return owned[torch.from_numpy(rng.choice(size, count, replace=count > size))]


def changed(change: Callable[[Tensor], Tensor]) -> StrangerMaker:
    """Return a maker that applies a function to legitimate images."""
    return lambda owned, count, rng: levels(change(sample(owned, count, rng)))


def edges(images: Tensor) -> Tensor:
    """Return half the size of the Sobel gradient, channel by channel."""
    kernels = torch.stack([_SOBEL, _SOBEL.T])[:, None]
    count, channels, height, width = images.shape
    slopes = functional.conv2d(images.reshape(-1, 1, height, width), kernels, padding=1)
    sizes: Tensor = torch.linalg.vector_norm(slopes, dim=1)
    return sizes.div(2).reshape(count, channels, height, width)


def black_and_white(images: Tensor) -> Tensor:
    """Return the pixels above one half as ones, the others as zeros."""
    return (images > 0.5).float()


def inverted(images: Tensor) -> Tensor:
    """Return the negatives."""
    return 1 - images


def rotated(images: Tensor) -> Tensor:
    """Return the images turned by a quarter to the left."""
    return torch.rot90(images, 1, (2, 3))


def upside_down(images: Tensor) -> Tensor:
    """Return the images mirrored top to bottom."""
    return images.flip(2)


def mixup(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return means of two images (Zhang et al. 2018)."""
    return levels(MIXUP_SHARE * sample(owned, count, rng) + (1 - MIXUP_SHARE) * sample(owned, count, rng))


def cutmix(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return images with a rectangle, a quarter to two thirds of the side, of another image (Yun et al. 2019)."""
    mixed, others = sample(owned, count, rng).clone(), sample(owned, count, rng)
    side = owned.shape[-1]
    for target, other in zip(mixed, others, strict=True):
        height, width = rng.integers(side // 4, 2 * side // 3 + 1, size=2)
        top, left = rng.integers(side - height + 1), rng.integers(side - width + 1)
        target[:, top : top + height, left : left + width] = other[:, top : top + height, left : left + width]
    return mixed


def noisy(sigma: float) -> StrangerMaker:
    """Return a maker that adds Gaussian noise to legitimate images."""
    return lambda owned, count, rng: noise(sigma)(sample(owned, count, rng), rng)
