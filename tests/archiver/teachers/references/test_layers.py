"""Axes, prototypes and Gaussians are what plain formulas give, and finite whatever the numbers."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from calpow.archiver.teachers.references import layers
from calpow.archiver.teachers.references.layers import (
    MOST_AXES,
    SAMPLES_PER_PROTOTYPE,
    class_means,
    fit_axes,
    fit_gaussians,
    fit_prototypes,
)


def samples(n: int, width: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return numbers `[n, width]` around a centre for each class, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = 3 * torch.randn(classes, width, generator=generator)
    return centres[labels] + torch.randn(n, width, generator=generator), labels


@pytest.mark.parametrize(("n", "width", "most"), [(200, 10, 10), (200, 100, MOST_AXES), (20, 100, 20)])
def test_axes_are_the_leading_right_singular_vectors(n: int, width: int, most: int) -> None:
    values, _ = samples(n, width, 3)
    axes = fit_axes(values)
    vectors = np.linalg.svd(values.double().numpy())[2][:most].T
    assert axes.shape == (width, most)
    # Up to the sign of each.
    assert np.abs((axes.numpy() * vectors).sum(axis=0)) == pytest.approx(np.ones(most), abs=1e-4)


def test_axes_of_many_numbers_and_samples_are_found_at_random_and_hold_the_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layers, "WIDE", 100)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(150, 8, generator=generator) @ torch.randn(8, 120, generator=generator)
    axes = fit_axes(values)
    assert axes.shape == (120, 8)
    assert torch.allclose(values @ axes @ axes.T, values, atol=1e-2)


def test_directions_without_numbers_are_no_axes() -> None:
    values, _ = samples(50, 3, 2)
    assert fit_axes(torch.cat([values, torch.zeros(50, 4)], dim=1)).shape == (7, 3)
    assert fit_axes(torch.zeros(5, 4)).shape == (4, 1)


def test_a_class_of_few_samples_has_their_mean_direction_as_its_prototype() -> None:
    values, labels = samples(2 * SAMPLES_PER_PROTOTYPE, 6, 2)
    axes = fit_axes(values)
    unit = values / values.norm(dim=1, keepdim=True)
    means = torch.stack([unit[labels == label].mean(dim=0) for label in range(2)])
    expected = (means / means.norm(dim=1, keepdim=True)) @ axes
    assert torch.allclose(fit_prototypes(values, axes, labels, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize(("n", "classes", "most"), [(400, 2, 80), (500, 50, 100), (30, 20, 20)])
def test_no_class_has_a_prototype_for_fewer_than_five_samples(n: int, classes: int, most: int) -> None:
    values, labels = samples(n, 8, classes)
    prototypes = fit_prototypes(values, fit_axes(values), labels, classes, 0)
    assert classes <= len(prototypes) <= most
    assert torch.allclose(prototypes.norm(dim=1), torch.ones(len(prototypes)), atol=1e-4)


def test_prototypes_lie_where_the_samples_do() -> None:
    values, labels = samples(600, 8, 3)
    axes = fit_axes(values)
    prototypes = fit_prototypes(values, axes, labels, 3, 0)
    strangers, _ = samples(300, 8, 3, seed=1)

    def distances(numbers: Tensor) -> Tensor:
        unit: Tensor = numbers / numbers.norm(dim=1, keepdim=True)
        return 1 - (unit @ axes @ prototypes.T).amax(dim=1)

    assert distances(values).mean() < 0.3 * distances(strangers).mean()


def test_the_same_seed_fits_the_same_prototypes() -> None:
    values, labels = samples(300, 8, 3)
    axes = fit_axes(values)
    one, other = (fit_prototypes(values, axes, labels, 3, seed=5) for _ in range(2))
    assert torch.equal(one, other)


def test_a_distance_is_mahalanobis_with_the_shrunk_covariance_within_classes() -> None:
    values, labels = samples(400, 6, 2)
    gaussians = fit_gaussians(values, labels, 2)
    numbers, classes = values.double().numpy(), labels.numpy()
    means = np.stack([numbers[classes == label].mean(axis=0) for label in range(2)])
    residuals = numbers - means[classes]
    scale = np.sqrt((residuals**2).mean(axis=0))
    precision = LedoitWolf(assume_centered=True).fit(residuals / scale).precision_
    for label in range(2):
        offsets = (numbers - means[label]) / scale
        expected = np.einsum("ij,jk,ik->i", offsets, precision, offsets)
        squares = ((values @ gaussians.whitening) - gaussians.means[label]).square().sum(dim=1)
        assert squares.numpy() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e6, 1e15])
def test_the_unit_of_the_numbers_does_not_matter(scale: float) -> None:
    values, labels = samples(200, 5, 2)
    plain, scaled = fit_gaussians(values, labels, 2), fit_gaussians(values * scale, labels, 2)
    assert torch.allclose((values * scale) @ scaled.whitening, values @ plain.whitening, rtol=1e-3, atol=1e-3)
    assert torch.allclose(scaled.means, plain.means, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("width", [1, 4, 30])
def test_few_samples_and_constant_numbers_leave_finite_gaussians(width: int) -> None:
    values, labels = samples(8, width, 4)
    values[:, 0] = 7.0
    for numbers in (values, torch.full_like(values, 3.0), values[labels]):
        gaussians = fit_gaussians(numbers, labels, 5)
        assert gaussians.means.shape == (5, width)
        assert gaussians.whitening.isfinite().all()
        assert gaussians.means.isfinite().all()


def test_a_class_without_samples_has_the_mean_of_all() -> None:
    values, labels = samples(20, 3, 2)
    means = class_means(values, labels, 3)
    assert torch.allclose(means[2], values.mean(dim=0))
    assert torch.allclose(means[1], values[labels == 1].mean(dim=0), atol=1e-5)
