"""Heads: ridge regressions that see nothing but their own samples."""

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from calpow.archiver.teachers.heads import LEAST_DEVIATION, RIDGE, fit_heads


def training_set(n: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    labels = torch.arange(n) % 3
    features = torch.randn(n, width, generator=generator) * torch.linspace(0.5, 3, width)
    features[:, 0] += 4 * labels
    return features, labels


@pytest.mark.parametrize(("n", "width"), [(12, 40), (60, 5)])
def test_a_head_is_the_ridge_regression_of_its_own_samples(n: int, width: int) -> None:
    features, labels = training_set(n, width)
    heads = fit_heads(features, labels, torch.zeros(n, dtype=torch.int64), 1, 3)
    deviation = features.double().std(dim=0, correction=0)
    scale = deviation + LEAST_DEVIATION * deviation.mean()
    standard = (features.double() - features.double().mean(dim=0)) / scale
    ridge = Ridge(alpha=RIDGE * float(standard.square().sum()) / n)
    ridge.fit(standard.numpy(), torch.nn.functional.one_hot(labels, 3).numpy())
    expected = torch.from_numpy(ridge.predict(standard.numpy())).float()
    assert torch.allclose(features @ heads.weight + heads.bias, expected, atol=1e-4)


def test_a_teacher_learns_nothing_from_the_data_of_others() -> None:
    features, labels = training_set(60, 8)
    owners = torch.arange(60) // 20
    before = fit_heads(features, labels, owners, 3, 3)
    changed, relabelled = features.clone(), labels.clone()
    changed[owners != 1] = torch.randn(40, 8)
    relabelled[owners != 1] = 0
    after = fit_heads(changed, relabelled, owners, 3, 3)
    second = slice(3, 6)
    assert torch.equal(after.weight[:, second], before.weight[:, second])
    assert torch.equal(after.bias[second], before.bias[second])
    assert not torch.equal(after.weight[:, :3], before.weight[:, :3])


def test_constant_features_and_a_lone_sample_leave_finite_heads() -> None:
    heads = fit_heads(torch.ones(4, 6), torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 0, 1]), 2, 2)
    assert bool(torch.isfinite(heads.weight).all())
    assert bool(torch.isfinite(heads.bias).all())
