"""How good teachers and their vote are on samples that none of them has seen."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from calpow.archiver.teachers.voting import count_votes
from calpow.handler.leakage.ensemble import LARGEST_BATCH

# Of the way from guessing to certainty: votes of weaker teachers scatter over legitimate queries as over others.
WEAK = 0.5


class Balloting(Protocol):
    """What is measured: teachers that each name a class."""

    classes: int

    def ballots(self, values: Tensor) -> Tensor:
        """Values `[n, ...]` -> each teacher's class, int64 `[teachers, n]`."""
        ...


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers: teachers' mean and worst, the vote's, and that of always naming the commonest class."""

    samples: int
    mean: float
    worst: float
    vote: float
    chance: float

    @property
    def weakness(self) -> str | None:
        """What to say of teachers too weak to be useful; None of others."""
        if self.vote >= self.chance + WEAK * (1 - self.chance):
            return None
        return (
            f"the vote is right in {self.vote:.1%} of the samples held back, where guessing is in {self.chance:.1%}:"
            " teachers this weak disagree on legitimate queries as on an attacker's; give more data, fewer --teachers"
            " or another --trunk"
        )


def measure_accuracy(ensemble: Balloting, values: Tensor, labels: Tensor) -> Accuracy:
    """Of samples `values` `[n, ...]` and their classes int64 `[n]`, both on the ensemble's device."""
    right: list[Tensor] = []
    voted = 0
    batches = tqdm(torch.split(values, LARGEST_BATCH), desc="measuring", unit="batch", disable=None)
    with torch.inference_mode():
        for batch, truth in zip(batches, torch.split(labels, LARGEST_BATCH), strict=True):
            cast = ensemble.ballots(batch)
            right.append((cast == truth).sum(dim=1))
            voted += int((count_votes(cast, ensemble.classes).argmax(dim=1) == truth).sum())
    teachers = torch.stack(right).sum(dim=0).double() / len(labels)
    commonest = int(torch.bincount(labels).max())
    return Accuracy(
        len(labels), float(teachers.mean()), float(teachers.min()), voted / len(labels), commonest / len(labels)
    )
