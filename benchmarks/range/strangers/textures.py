"""Strangers that show nothing: noise of each pixel, and smooth blobs."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from benchmarks.range.shifts import levels


def uniform_noise(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return images whose values are independent and uniform."""
    return levels(torch.from_numpy(rng.random((count, *owned.shape[1:]), dtype=np.float32)))


def blobs(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return noise smoothed over a twelfth to a quarter of the side, stretched from 0 to 1 in every channel."""
    side = owned.shape[-1]
    images = rng.standard_normal((count, *owned.shape[1:]), dtype=np.float32)
    sigmas = rng.uniform(side / 12, side / 4, size=count)
    smooth = [
        ndimage.gaussian_filter(image, (0, sigma, sigma), mode="wrap")
        for image, sigma in zip(images, sigmas, strict=True)
    ]
    values = torch.from_numpy(np.stack(smooth))
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    return levels((values - low) / (high - low))
