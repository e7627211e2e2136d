"""The teachers' heads: one ridge regression on the trunk's features each, all of them one matrix product."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from calpow.archiver.teachers.voting import ballots, count_votes

# Relative to the mean squared norm of a teacher's standardised features.
RIDGE = 0.03
# Added to each feature's deviation, relative to the mean of all: features that hardly vary are not blown up.
LEAST_DEVIATION = 0.1


@dataclass(frozen=True)
class Heads:
    """All heads: scores = features `[n, f]` @ weight `[f, teachers * classes]` + bias; float32."""

    weight: Tensor
    bias: Tensor


def fit_heads(features: Tensor, labels: Tensor, owners: Tensor, teachers: int, classes: int) -> Heads:
    """Fit teacher t to the samples that `owners` int64 `[n]` gives it, and to nothing else.

    `features` is `[n, f]`, `labels` int64 `[n]`. A teacher's mean and deviation come from its own samples, too.
    """
    columns, offsets = [], []
    for teacher in tqdm(range(teachers), desc="teachers", unit="teacher", disable=None):
        mine = owners == teacher
        weight, bias = _fit_one(features[mine].double(), labels[mine], classes)
        columns.append(weight.float())
        offsets.append(bias.float())
    return Heads(torch.cat(columns, dim=1).contiguous(), torch.cat(offsets))


def _fit_one(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weight `[f, classes]` and bias `[classes]` of a ridge regression on one-hot targets."""
    n, width = features.shape
    mean = features.mean(dim=0)
    deviation = features.std(dim=0, correction=0)
    scale = 1 / (deviation + LEAST_DEVIATION * deviation.mean()).clamp(min=1e-12)
    centred = (features - mean) * scale
    targets = nn.functional.one_hot(labels, classes).double()
    average = targets.mean(dim=0)
    ridge = max(RIDGE * float(centred.square().sum()) / n, 1e-12)
    eye = torch.eye(min(n, width), dtype=torch.float64, device=features.device)
    # The same solution either way; the smaller system is the cheaper.
    if n < width:
        weight = centred.T @ torch.linalg.solve(centred @ centred.T + ridge * eye, targets - average)
    else:
        weight = torch.linalg.solve(centred.T @ centred + ridge * eye, centred.T @ (targets - average))
    weight = scale[:, None] * weight
    return weight, average - mean @ weight


class VotingTeachers(nn.Module):
    """Trunk and heads as one module: inputs float32 `[n, *input_shape]` -> votes int64 `[n, classes]`."""

    weight: Tensor
    bias: Tensor

    def __init__(self, trunk: nn.Module, heads: Heads, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.classes = classes
        # Class by class instead of teacher by teacher, and samples last: the fastest to count.
        by_class = heads.weight.reshape(len(heads.weight), -1, classes).permute(2, 1, 0)
        self.register_buffer("weight", by_class.flatten(0, 1).contiguous())
        self.register_buffer("bias", heads.bias.reshape(-1, classes).T.reshape(-1, 1).contiguous())

    def forward(self, inputs: Tensor) -> Tensor:
        """Vote counts int64 `[n, classes]`."""
        return count_votes(self.ballots(self.trunk(inputs)), self.classes)

    def ballots(self, features: Tensor) -> Tensor:
        """Each teacher's class for features `[n, f]`: int64 `[teachers, n]`."""
        scores = torch.addmm(self.bias, self.weight, features.T)
        return ballots(scores.reshape(self.classes, -1, features.shape[0]))
