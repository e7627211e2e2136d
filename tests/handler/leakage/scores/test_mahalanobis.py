"""The Mahalanobis distance from the class of the answer, against scipy's."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from calpow.handler.leakage.references import LAST, Gaussians
from calpow.handler.leakage.score import ODDEST, Score, VictimOutput
from calpow.handler.leakage.scores.mahalanobis import MahalanobisDistance
from tests.support.batches import batch_at, costs_of

GENERATOR = torch.Generator().manual_seed(0)
NUMBERS = torch.randn(12, 5, generator=GENERATOR)
ANSWERS = torch.arange(12) % 3
MEANS = torch.randn(3, 5, generator=GENERATOR)
ROOT = torch.randn(5, 5, generator=GENERATOR) + 3 * torch.eye(5)
# The inverse of the covariance is `ROOT @ ROOT.T`.
GAUSSIANS = Gaussians(whitening=ROOT, means=MEANS @ ROOT)


@pytest.mark.parametrize("layer", [LAST, "stem.0"])
def test_it_is_the_distance_from_the_class_of_the_answer(layer: str) -> None:
    score: Score = MahalanobisDistance(layer, GAUSSIANS)
    inverse = (ROOT.double() @ ROOT.double().T).numpy()
    expected = [
        mahalanobis(row.double().numpy(), MEANS[answer].double().numpy(), inverse)
        for row, answer in zip(NUMBERS, ANSWERS, strict=True)
    ]
    costs = score.costs(batch_at(layer, NUMBERS, axes=torch.eye(5), answers=ANSWERS))
    assert costs.tolist() == pytest.approx(expected, rel=1e-5)
    assert score.highest == ODDEST


def test_numbers_that_overflow_have_no_finite_cost() -> None:
    odd = torch.stack([torch.full((5,), torch.nan), torch.full((5,), torch.inf), torch.full((5,), 1e30)])
    assert not np.isfinite(costs_of(MahalanobisDistance("stem.0", GAUSSIANS), batch_at("stem.0", odd))).any()


def test_it_reads_the_layer_that_it_is_made_for() -> None:
    assert MahalanobisDistance(LAST, GAUSSIANS).needs is VictimOutput.PROJECTION
    assert MahalanobisDistance("stem.0", GAUSSIANS).needs is VictimOutput.DEPTHS
