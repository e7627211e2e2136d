"""Accuracy of teachers and of their vote on samples held back from training."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from calpow.archiver.progress import track
from calpow.handler.leakage.teachers.ensemble import LARGEST_BATCH
from calpow.handler.leakage.teachers.heads import count_votes

# A vote that covers less than this part of the way from guessing to certainty is weak: weaker teachers disagree on
# legitimate queries as often as on an attacker's.
WEAK = 0.5


class Voters(Protocol):
    """Teachers that vote on the class of a sample."""

    classes: int

    def ballots(self, values: Tensor) -> Tensor:
        """Return each teacher's class for values `[n, ...]`: int64 `[teachers, n]`."""
        ...


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers: of the mean and the worst teacher, the vote, and always naming the commonest class."""

    samples: int
    mean: float
    worst: float
    vote: float
    chance: float

    @property
    def weakness(self) -> str | None:
        """A sentence of warning if the vote is too weak to be useful, else None."""
        if self.vote >= self.chance + WEAK * (1 - self.chance):
            return None
        return (
            f"the vote is right in {self.vote:.1%} of the samples held back, where guessing is in {self.chance:.1%}:"
            " teachers this weak disagree on legitimate queries as on an attacker's; give more data, fewer --teachers"
            " or another --trunk"
        )


def measure_accuracy(ensemble: Voters, values: Tensor, labels: Tensor) -> Accuracy:
    """Measure an ensemble on samples `values` `[n, ...]` with classes `labels` int64 `[n]`, both on its device."""
    right: list[Tensor] = []
    right_votes = 0
    batches = track(torch.split(values, LARGEST_BATCH), "measuring", "batch")
    with torch.inference_mode():
        for batch, truth in zip(batches, torch.split(labels, LARGEST_BATCH), strict=True):
            cast = ensemble.ballots(batch)
            right.append((cast == truth).sum(dim=1))
            right_votes += int((count_votes(cast, ensemble.classes).argmax(dim=1) == truth).sum())
    teachers = torch.stack(right).sum(dim=0).double() / len(labels)
    commonest = int(torch.bincount(labels).max())
    return Accuracy(
        len(labels), float(teachers.mean()), float(teachers.min()), right_votes / len(labels), commonest / len(labels)
    )
