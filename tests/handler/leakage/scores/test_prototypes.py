"""The distance to the nearest prototype, against scipy's cosine distance."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from calpow.handler.leakage.references import LAST
from calpow.handler.leakage.score import SampleBatch, Score, VictimOutput
from calpow.handler.leakage.scores.prototypes import PrototypeDistance
from tests.support.batches import batch_at, costs_of

GENERATOR = torch.Generator().manual_seed(0)
NUMBERS = torch.randn(12, 7, generator=GENERATOR) * 3
POINTS = torch.randn(9, 7, generator=GENERATOR)
# All axes there are: the projection loses nothing.
AXES = torch.linalg.qr(torch.randn(7, 7, generator=GENERATOR)).Q
PROTOTYPES = torch.nn.functional.normalize(POINTS, dim=1) @ AXES


@pytest.mark.parametrize("layer", [LAST, "stem.0"])
def test_it_is_the_cosine_distance_to_the_nearest_point(layer: str) -> None:
    score: Score = PrototypeDistance(layer, AXES, PROTOTYPES)
    expected = cdist(NUMBERS.double().numpy(), POINTS.double().numpy(), "cosine").min(axis=1)
    assert np.allclose(score.costs(batch_at(layer, NUMBERS, AXES)), expected, atol=1e-6)


@pytest.mark.parametrize("layer", [LAST, "stem.0"])
def test_what_lies_beside_the_axes_lengthens_the_distance(layer: str) -> None:
    score = PrototypeDistance(layer, AXES[:, :3], torch.eye(3)[:1])
    along, beside = AXES[:, 0], AXES[:, 0] + AXES[:, 5]
    costs = score.costs(batch_at(layer, torch.stack([along, beside, -along]), AXES[:, :3])).tolist()
    assert costs == pytest.approx([0.0, 1 - 0.5**0.5, 2.0], abs=1e-6)


@pytest.mark.parametrize("layer", [LAST, "stem.0"])
def test_numbers_without_a_direction_have_no_finite_cost(layer: str) -> None:
    odd = torch.stack([torch.zeros(7), torch.full((7,), torch.nan)])
    assert not np.isfinite(costs_of(PrototypeDistance(layer, AXES, PROTOTYPES), batch_at(layer, odd, AXES))).any()


def test_numbers_of_an_inner_layer_that_overflow_have_no_finite_cost() -> None:
    batch = batch_at("stem.0", torch.full((1, 7), 1e30))
    assert not np.isfinite(costs_of(PrototypeDistance("stem.0", AXES, PROTOTYPES), batch)).any()


def test_the_last_features_are_projected_once_for_all() -> None:
    assert PrototypeDistance(LAST, AXES, PROTOTYPES).needs is VictimOutput.PROJECTION
    assert PrototypeDistance("stem.0", AXES, PROTOTYPES).needs is VictimOutput.DEPTHS
    with pytest.raises(ValueError, match="features"):
        PrototypeDistance(LAST, AXES, PROTOTYPES).costs(SampleBatch(answers=np.zeros(1, np.int64)))
