"""Pictures made by rules: whole in form, different from one another, with the statistics they are named for."""

import math

import pytest
import torch
from torch import Tensor

from calpow.archiver.calibration.synthetic_inputs.procedural_images import (
    Picture,
    dead_leaves,
    fractals,
    gratings,
    spectra,
    strokes,
)

PICTURES: dict[str, Picture] = {
    "dead leaves": dead_leaves,
    "1/f noise": spectra,
    "fractals": fractals,
    "gratings": gratings,
    "strokes": strokes,
}


def drawn(name: str, channels: int = 3, size: tuple[int, int] = (32, 32), count: int = 20) -> Tensor:
    return PICTURES[name](count, channels, size, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(32, 32), (16, 40), (17, 9)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_have_any_number_of_channels_and_any_size_and_lie_between_0_and_1(
    name: str, channels: int, size: tuple[int, int]
) -> None:
    pictures = drawn(name, channels, size, count=4)
    assert (pictures.shape, pictures.dtype) == ((4, channels, *size), torch.float32)
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1


@pytest.mark.parametrize("name", PICTURES)
def test_no_picture_is_blank_and_no_two_are_alike(name: str) -> None:
    pictures = drawn(name).flatten(1)
    assert float(pictures.std(dim=1).min()) > 0.02
    away = torch.cdist(pictures, pictures) + torch.eye(len(pictures)) * 1e9
    assert float(away.min()) > 1


@pytest.mark.parametrize("name", PICTURES)
def test_channels_differ_in_colour(name: str) -> None:
    pictures = drawn(name)
    assert float((pictures[:, 0] - pictures[:, 1]).abs().mean()) > 0.01


def slope(pictures: Tensor) -> float:
    """Return the slope of log amplitude against log frequency."""
    side = pictures.shape[-1]
    amplitude = torch.fft.rfft2(pictures - pictures.mean(dim=(2, 3), keepdim=True)).abs().mean(dim=(0, 1))
    frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None])
    inner = (frequency > 1.5 / side) & (frequency < 0.4)
    x, y = frequency[inner].log(), amplitude[inner].log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def test_the_amplitude_of_natural_like_pictures_falls_about_as_one_over_the_frequency() -> None:
    for name in ("dead leaves", "1/f noise"):
        assert -1.8 < slope(drawn(name, 1, (64, 64), 60)) < -0.7
    white = torch.rand(60, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert abs(slope(white)) < 0.1


def test_leaves_are_of_one_colour_with_sharp_edges() -> None:
    steps = drawn("dead leaves", 1, (64, 64)).diff(dim=3).abs()
    assert float((steps == 0).float().mean()) > 0.6
    assert float((steps > 0.1).float().mean()) > 0.05


def test_strokes_are_few_pixels_in_one_colour_on_a_plain_ground() -> None:
    for picture in drawn("strokes", 1, (64, 64)).flatten(1):
        _, counts = torch.unique(picture.mul(100).round(), return_counts=True)
        common = counts.sort(descending=True).values
        assert int(common[0]) > 0.6 * 64 * 64, "the ground"
        assert int(common[:2].sum()) > 0.85 * 64 * 64, "and the ink"


def test_stripes_have_one_frequency_and_its_direction_unless_crossed() -> None:
    pictures = drawn("gratings", 1, (64, 64), 60)
    amplitude = torch.fft.rfft2(pictures - pictures.mean(dim=(2, 3), keepdim=True)).abs().flatten(1).square()
    strongest = amplitude.topk(12, dim=1).values.sum(dim=1) / amplitude.sum(dim=1)
    assert float(strongest.median()) > 0.7


def test_fractals_have_detail_at_their_edges() -> None:
    pictures = drawn("fractals", 1, (64, 64), 40)
    coarse = pictures.diff(dim=3).abs().mean(dim=(1, 2, 3))
    assert float((coarse > 0.02).float().mean()) > 0.7
    assert math.isfinite(float(pictures.sum()))
