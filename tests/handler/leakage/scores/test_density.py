"""The density of a mixture of Gaussians at the input, against scipy's densities."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the customary name

from calpow.handler.leakage.references import Mixture
from calpow.handler.leakage.score import ODDEST, SampleBatch, Score
from calpow.handler.leakage.scores.density import InputDensity

GENERATOR = torch.Generator().manual_seed(0)
COMPONENTS, AXES = 3, 2


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


CENTRES, ROOTS = rows(COMPONENTS, AXES), rows(COMPONENTS, AXES, AXES) + 2 * torch.eye(AXES)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])


def mixture(pool: int, width: int) -> Mixture:
    """A mixture of components of given centres, whose inverse covariances are ROOT @ ROOT.T."""
    constants = ROOTS.det().abs().log() - AXES / 2 * np.log(2 * np.pi)
    return Mixture(
        pool=pool,
        centre=rows(width),
        axes=torch.linalg.qr(rows(width, AXES)).Q,
        whitening=ROOTS,
        means=torch.einsum("kd,kde->ke", CENTRES, ROOTS),
        log_weights=WEIGHTS.log() + constants,
    )


def expected(numbers: Tensor, model: Mixture) -> list[float]:
    """Minus the log densities of flat numbers `[n, p]`."""
    projected = ((numbers - model.centre) @ model.axes).double().numpy()
    logs = [
        np.log(weight)
        + multivariate_normal(centre.numpy(), np.linalg.inv((root @ root.T).double().numpy())).logpdf(projected)
        for weight, centre, root in zip(WEIGHTS.tolist(), CENTRES, ROOTS, strict=True)
    ]
    return list(-logsumexp(np.stack(logs), axis=0))


def batch_of(inputs: Tensor) -> SampleBatch:
    return SampleBatch(answers=np.zeros(len(inputs), np.int64), inputs=inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_minus_the_log_density_of_the_mixture(dtype: torch.dtype) -> None:
    model, table = mixture(1, 6), rows(10, 6)
    score: Score = InputDensity(model)
    assert score.costs(batch_of(table.to(dtype))).tolist() == pytest.approx(expected(table, model), rel=1e-4)
    assert score.highest == ODDEST


def test_images_are_pooled_and_flattened() -> None:
    images, model = rows(5, 2, 7, 6), mixture(3, 2 * 2 * 2)
    pooled = F.avg_pool2d(images, 3).flatten(1)
    assert InputDensity(model).costs(batch_of(images)).tolist() == pytest.approx(expected(pooled, model), rel=1e-4)


def test_a_sample_costs_the_same_alone_and_in_a_batch() -> None:
    score, table = InputDensity(mixture(1, 6)), rows(10, 6)
    alone = [score.costs(batch_of(row[None])).item() for row in table]
    assert score.costs(batch_of(table)).tolist() == pytest.approx(alone, rel=1e-5)


def test_inputs_of_several_shapes_have_none() -> None:
    with pytest.raises(ValueError, match="inputs of one shape"):
        InputDensity(mixture(1, 6)).costs(SampleBatch(answers=np.zeros(1, np.int64)))


def test_a_batch_without_samples_has_no_costs() -> None:
    assert InputDensity(mixture(1, 6)).costs(batch_of(rows(0, 6))).tolist() == []
