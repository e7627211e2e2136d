"""References are fitted to whatever was observed, with few samples, many classes, and numbers that overflow."""

import math

import pytest
import torch
from torch import Tensor

from calpow.archiver.teachers.references.fitting import fit_references, token_costs
from calpow.archiver.teachers.references.layers import fit_gaussians
from calpow.archiver.teachers.references.observations import Observations
from calpow.handler.leakage.references import LAST, References
from calpow.handler.leakage.teachers.stored_references import pack, unpack


def observations(n: int, classes: int, *, width: int = 8, inputs: bool = True) -> Observations:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, width, generator=generator)

    def layer() -> Tensor:
        return centres[labels] + 0.3 * torch.randn(n, width, generator=generator)

    return Observations(labels, {"conv": layer(), LAST: layer()}, layer() if inputs else None, 1, False, None)


def storable(references: References | None, classes: int) -> References:
    """Return references as a worker reads them, which refuses what is not finite or does not fit."""
    assert references is not None
    return unpack(pack(references), classes, torch.device("cpu"))


@pytest.mark.parametrize(("n", "classes"), [(4, 2), (200, 2), (400, 100)])
def test_all_references_can_be_stored(n: int, classes: int) -> None:
    references = storable(fit_references(observations(n, classes), classes, 0), classes)
    assert references.layers == ("conv",)
    assert set(references.axes) == set(references.prototypes) == set(references.gaussians) == {LAST, "conv"}
    assert references.gaussians[LAST].means.shape[0] == classes
    assert references.mixture is not None


def test_gaussians_of_the_features_are_those_of_their_numbers_on_the_axes() -> None:
    observed = observations(300, 3, width=100)
    references = storable(fit_references(observed, 3, 0), 3)
    axes, gaussians = references.axes[LAST], references.gaussians[LAST]
    assert axes.shape == (100, 64)
    expected = fit_gaussians(observed.layers[LAST].double() @ axes.double(), observed.labels, 3)
    assert torch.allclose(gaussians.whitening, expected.whitening)
    assert torch.allclose(gaussians.means, expected.means)


def test_samples_that_overflow_are_left_out_of_their_layer() -> None:
    observed = observations(60, 2)
    layers = dict(observed.layers)
    layers["conv"] = layers["conv"].clone()
    layers["conv"][:3] = torch.tensor([torch.inf, torch.nan, -torch.inf])[:, None]
    layers["dead"] = torch.full((60, 2), torch.nan)
    references = storable(fit_references(Observations(observed.labels, layers, None, 1, False, None), 2, 0), 2)
    assert references.layers == ("conv",)
    assert references.mixture is None


def test_huge_numbers_leave_references_that_can_be_stored() -> None:
    observed = observations(60, 2)
    layers = {name: values * 1e15 for name, values in observed.layers.items()}
    storable(fit_references(Observations(observed.labels, layers, None, 1, False, None), 2, 0), 2)


def test_a_victim_that_shows_nothing_has_no_references() -> None:
    assert fit_references(Observations(torch.empty(0, dtype=torch.int64), {}, None, 1, False, None), 2, 0) is None


def test_costs_of_whole_numbers_are_minus_their_log_frequencies() -> None:
    costs = token_costs(torch.tensor([0, 6, 1]))
    assert costs.tolist() == pytest.approx([-math.log(1 / 10), -math.log(7 / 10), -math.log(2 / 10)])
    observed = Observations(torch.empty(0, dtype=torch.int64), {}, None, 1, False, torch.tensor([0, 6, 1]))
    references = storable(fit_references(observed, 2, 0), 2)
    assert references.token_costs is not None
    assert torch.equal(references.token_costs, costs)
