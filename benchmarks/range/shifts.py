"""Shifts of honest users: another camera, file format or light; a rounded table; words left out of a text."""

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from benchmarks.range.domain import Shift

LOST_WORDS = 0.1
TABLE_NOISE = 0.02
_STEPS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]


def levels(images: Tensor) -> Tensor:
    """Return images clipped to 0..1 and rounded to multiples of 1/255, as files of images hold them."""
    return images.clamp(0, 1).mul(255).round().div(255)


def noise(sigma: float) -> Shift:
    """Return a shift that adds Gaussian noise to every pixel."""

    def shift(images: Tensor, rng: np.random.Generator) -> Tensor:
        return levels(images + sigma * torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32)))

    return shift


def translation(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Move every image by one pixel in one of the eight directions; its edge is repeated."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    steps = torch.from_numpy(rng.integers(len(_STEPS), size=len(images)))
    moved = torch.empty_like(images)
    height, width = images.shape[2:]
    for number, (down, right) in enumerate(_STEPS):
        window = padded[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
        moved[steps == number] = window[steps == number]
    return moved


def flip(images: Tensor, _: np.random.Generator) -> Tensor:
    """Mirror every image, left to right."""
    return images.flip(3)


def jpeg(quality: int) -> Shift:
    """Return a shift that stores every image as JPEG."""

    def stored(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        buffer = io.BytesIO()
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer)).reshape(image.shape)

    def shift(images: Tensor, _: np.random.Generator) -> Tensor:
        pixels = images.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        changed = np.stack([stored(image) for image in pixels])
        return torch.from_numpy(changed).permute(0, 3, 1, 2).float().div(255).contiguous()

    return shift


def brightness(factor: float) -> Shift:
    """Return a shift that multiplies every pixel."""
    return lambda images, _: levels(images * factor)


def gamma(exponent: float) -> Shift:
    """Return a shift that raises every pixel to a power."""
    return lambda images, _: levels(images**exponent)


def blur(sigma: float) -> Shift:
    """Return a shift that blurs every channel by a Gaussian of `sigma` pixels."""
    return lambda images, _: levels(torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma))))


IMAGE_SHIFTS: Mapping[str, Shift] = {
    "noise .05": noise(0.05),
    "1 px": translation,
    "flip": flip,
    "JPEG 80": jpeg(80),
    "brightness .8": brightness(0.8),
    "gamma .8": gamma(0.8),
    "blur .5": blur(0.5),
}


def table_shifts(numbers: int) -> Mapping[str, Shift]:
    """Return the shifts of rows whose first `numbers` columns are standardised numbers."""

    def shift(rows: Tensor, rng: np.random.Generator) -> Tensor:
        moved = rows.clone()
        error = rng.standard_normal((len(rows), numbers), dtype=np.float32)
        moved[:, :numbers] += TABLE_NOISE * torch.from_numpy(error)
        return moved

    return {"noise .02": shift}


def lose_words(tokens: Tensor, rng: np.random.Generator) -> Tensor:
    """Leave out one word in ten, at random, and close the gaps; the first word of a text always stays."""
    kept = torch.from_numpy(rng.random(tokens.shape) >= LOST_WORDS) & (tokens != 0)
    kept[:, 0] = True
    order = torch.argsort(~kept, dim=1, stable=True)
    return torch.where(kept, tokens, 0).gather(1, order)


TEXT_SHIFTS: Mapping[str, Shift] = {"words lost": lose_words}
