"""Trunks: bounded features for inputs of any shape, determined by the seed."""

import math

import pytest
import torch

from calpow.handler.errors import TrunkError
from calpow.handler.leakage.teachers.trunks import VICTIM, make_trunk, morlet_bank


def test_wavelets_have_mean_zero_and_norm_one() -> None:
    bank = morlet_bank(6, 5)
    assert bank.shape == (12, 1, 5, 5)
    assert float(bank.sum(dim=(1, 2, 3)).abs().max()) < 1e-6
    moduli = torch.hypot(bank[:6], bank[6:])
    assert torch.allclose(moduli.sum(dim=(1, 2, 3)), torch.ones(6), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 200), (2, 65, 65), (4, 128, 96)])
@pytest.mark.parametrize("name", ["scattering", "random"])
def test_images_of_any_size_get_features_of_a_bounded_number(name: str, shape: tuple[int, ...]) -> None:
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    trunk = make_trunk(name, shape, 0)
    features = trunk(images)
    assert features.shape[0] == 3
    assert 100 < features.shape[1] < 2500
    assert bool(torch.isfinite(features).all())
    assert torch.allclose(trunk(images[1:2]), features[1:2], atol=1e-5)


@pytest.mark.parametrize("shape", [(4,), (1, 7, 7), (2, 3, 4, 5), (30_000,)])
def test_inputs_that_are_no_images_get_random_features(shape: tuple[int, ...]) -> None:
    inputs = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    features = make_trunk("random", shape, 0)(inputs)
    assert features.shape == (3, 512 + min(math.prod(shape), 4096))
    assert bool(torch.isfinite(features).all())


@pytest.mark.parametrize("shape", [(1, 8, 8), (5,)])
def test_a_random_trunk_depends_on_its_seed_and_on_nothing_else(shape: tuple[int, ...]) -> None:
    inputs = torch.rand(2, *shape)
    torch.manual_seed(1)
    first = make_trunk("random", shape, 5)(inputs)
    torch.manual_seed(2)
    assert torch.equal(make_trunk("random", shape, 5)(inputs), first)
    assert not torch.equal(make_trunk("random", shape, 6)(inputs), first)


@pytest.mark.parametrize("shape", [(4,), (1, 7, 28), (8, 8)])
def test_scattering_is_refused_for_what_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(TrunkError, match="take --trunk random"):
        make_trunk("scattering", shape, 0)


def test_the_victims_features_are_taken_as_they_are() -> None:
    features = torch.rand(3, 7)
    assert torch.equal(make_trunk(VICTIM, None, 0)(features), features)


@pytest.mark.parametrize("name", ["scattering", "random"])
def test_inputs_of_several_shapes_or_several_tensors_are_referred_to_the_victims_features(name: str) -> None:
    with pytest.raises(TrunkError, match=rf"trunk {name} takes one: take --trunk victim"):
        make_trunk(name, None, 0)


def test_an_unknown_trunk_is_refused() -> None:
    with pytest.raises(TrunkError, match="there is no trunk resnet: take one of scattering, random, victim"):
        make_trunk("resnet", (1, 8, 8), 0)
