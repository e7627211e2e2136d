"""Shifts of honest users' pictures: other lighting, another angle, another lens, another file format."""

import io
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from benchmarks.fashion.data import Grey

Shift = Callable[[Grey, np.random.Generator], Grey]


def _brighter(factor: float = 1.0, plus: float = 0.0) -> Shift:
    return lambda image, _: _grey(image.astype(np.float64) * factor + plus)


def _rotated(most: float) -> Shift:
    return lambda image, rng: _grey(
        ndimage.rotate(image.astype(np.float64), rng.uniform(-most, most), reshape=False, order=1)
    )


def _blurred(sigma: float) -> Shift:
    return lambda image, _: _grey(ndimage.gaussian_filter(image.astype(np.float64), sigma))


def _compressed(quality: int) -> Shift:
    def shift(image: Grey, _: np.random.Generator) -> Grey:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    return shift


SHIFTS: Mapping[str, Shift] = {
    "brightness x 0.8": _brighter(0.8),
    "brightness x 1.2": _brighter(1.2),
    "brightness + 20/255": _brighter(plus=20.0),
    "rotated up to 5 degrees": _rotated(5.0),
    "rotated up to 10 degrees": _rotated(10.0),
    "blur, sigma 0.5": _blurred(0.5),
    "blur, sigma 1": _blurred(1.0),
    "JPEG, quality 75": _compressed(75),
    "JPEG, quality 30": _compressed(30),
}


def shifted(images: Grey, rng: np.random.Generator) -> dict[str, Grey]:
    """All images [n, 28, 28] in the same order under every shift."""
    return {name: np.stack([shift(image, rng) for image in images]) for name, shift in SHIFTS.items()}


def _grey(values: npt.NDArray[np.float64]) -> Grey:
    return np.rint(values).clip(0, 255).astype(np.uint8)
