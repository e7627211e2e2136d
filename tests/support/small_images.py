"""Real small images, and the near-copies of them that a client can make without a thought."""

from collections.abc import Callable, Mapping

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional


def digit_images(count: int, side: int = 28) -> Tensor:
    """Return handwritten digits `[count, 1, side, side]`, of numbers from 0 to 1."""
    digits = torch.tensor(load_digits().images[:count] / 16, dtype=torch.float32).unsqueeze(1)
    return functional.interpolate(digits, (side, side), mode="bilinear", align_corners=False)


def one_pixel(images: Tensor) -> Tensor:
    """Return images with one pixel inverted."""
    changed = images.clone()
    changed[..., 9, 9] = 1 - changed[..., 9, 9]
    return changed


NEAR_COPIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "one pixel": one_pixel,
    "contrast": lambda images: 0.5 + 0.5 * (images - 0.5),
    "brightness": lambda images: (images + 0.1).clamp(max=1.0),
    "16 shades": lambda images: (images * 15).round() / 15,
    "gamma": lambda images: images**0.8,
}
