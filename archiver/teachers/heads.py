"""Fitting of heads: one ridge regression per teacher on the trunk's features."""

import torch
from torch import Tensor, nn

from calpow.archiver.progress import track
from calpow.handler.leakage.teachers.heads import Heads

# The ridge, relative to the mean squared norm of a teacher's standardised features.
RIDGE = 0.03
# Added to each feature's deviation, relative to the mean deviation: features that hardly vary are not blown up.
LEAST_DEVIATION = 0.1


def fit_heads(features: Tensor, labels: Tensor, owners: Tensor, teachers: int, classes: int) -> Heads:
    """Fit each teacher to its own samples alone; its features are standardised by its own samples, too.

    `features` is `[n, f]`, `labels` int64 `[n]`; `owners` int64 `[n]` holds each sample's teacher.
    """
    weights, biases = [], []
    for teacher in track(range(teachers), "teachers", "teacher"):
        own = owners == teacher
        weight, bias = _fit_head(features[own].double(), labels[own], classes)
        weights.append(weight.float())
        biases.append(bias.float())
    return Heads(torch.cat(weights, dim=1).contiguous(), torch.cat(biases))


def _fit_head(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return weight `[f, classes]` and bias `[classes]` of a ridge regression on one-hot targets."""
    n, width = features.shape
    mean = features.mean(dim=0)
    deviation = features.std(dim=0, correction=0)
    scale = 1 / (deviation + LEAST_DEVIATION * deviation.mean()).clamp(min=1e-12)
    centred = (features - mean) * scale
    targets = nn.functional.one_hot(labels, classes).double()
    average = targets.mean(dim=0)
    ridge = max(RIDGE * float(centred.square().sum()) / n, 1e-12)
    eye = torch.eye(min(n, width), dtype=torch.float64, device=features.device)
    # The primal and the dual system have the same solution; the smaller one is solved.
    if n < width:
        weight = centred.T @ torch.linalg.solve(centred @ centred.T + ridge * eye, targets - average)
    else:
        weight = torch.linalg.solve(centred.T @ centred + ridge * eye, centred.T @ (targets - average))
    weight = scale[:, None] * weight
    return weight, average - mean @ weight
