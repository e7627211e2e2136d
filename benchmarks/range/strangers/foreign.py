"""Strangers from elsewhere: images of other data sets and parts of photographs, made to fit the victim."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional

from benchmarks.range import image_sets
from benchmarks.range.domain import StrangerMaker
from benchmarks.range.shifts import levels
from benchmarks.range.strangers.altered import sample

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
SMALLEST_CROP, LARGEST_CROP = 32, 220


def like(images: Tensor, owned: Tensor, rng: np.random.Generator) -> Tensor:
    """Return images in the size and the number of channels of `owned`.

    Colours become their luminance; grey images are coloured between a random background and a random ink.
    """
    if images.shape[1] > owned.shape[1]:
        images = (images * torch.tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    if images.shape[2:] != owned.shape[2:]:
        size = [owned.shape[2], owned.shape[3]]
        images = functional.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
    if images.shape[1] < owned.shape[1]:
        shape = (len(images), owned.shape[1], 1, 1)
        ink, back = (torch.from_numpy(rng.random(shape, dtype=np.float32)) for _ in range(2))
        images = back + (ink - back) * images
    return levels(images)


def from_set(images: Callable[[], Tensor]) -> StrangerMaker:
    """Return a maker that draws images of another data set."""
    return lambda owned, count, rng: like(sample(images(), count, rng), owned, rng)


@cache
def mnist_images() -> Tensor:
    """Return MNIST's test images. Raises DataMissing."""
    return image_sets.mnist("test").inputs


@cache
def fashion_images() -> Tensor:
    """Return Fashion-MNIST's test images. Raises DataMissing."""
    return image_sets.fashion_mnist("test").inputs


@cache
def cifar_images() -> Tensor:
    """Return CIFAR-10's test images. Raises DataMissing."""
    return image_sets.cifar10("test").inputs


def natural_crops(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return square parts of the photographs that scikit-learn and matplotlib ship."""
    portrait = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    photographs = [*load_sample_images().images, np.asarray(Image.open(portrait).convert("RGB"))]
    size = (owned.shape[3], owned.shape[2])

    def crop() -> Image.Image:
        photograph = photographs[rng.integers(len(photographs))]
        side = int(rng.integers(SMALLEST_CROP, LARGEST_CROP))
        top, left = (int(rng.integers(length - side + 1)) for length in photograph.shape[:2])
        part = Image.fromarray(photograph[top : top + side, left : left + side])
        return part.resize(size, Image.Resampling.BOX)

    pixels = np.stack([np.asarray(crop()) for _ in range(count)])
    return like(image_sets.image_inputs(pixels.transpose(0, 3, 1, 2)), owned, rng)
