"""Accuracy of teachers and of their vote on samples held back from training, and how often its cost is the highest."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from calpow.archiver.progress import track
from calpow.archiver.teachers.vote_noise import vote_settings
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.teachers.ensemble import LARGEST_BATCH
from calpow.handler.leakage.teachers.heads import count_votes

# A vote that covers less than this part of the way from guessing to certainty is weak: weaker teachers disagree on
# legitimate queries as often as on an attacker's.
WEAK = 0.5
# Where more than this share of votes costs the most a vote can, a stranger's cannot cost more than most users'.
CROWDED = 0.5
# The share of the highest cost from which on a vote counts as being at the ceiling.
CEILING = 0.999


class Voters(Protocol):
    """Teachers that vote on the class of a sample."""

    classes: int

    def ballots(self, values: Tensor) -> Tensor:
        """Return each teacher's class for values `[n, ...]`: int64 `[teachers, n]`."""
        ...


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers: of the mean and the worst teacher, the vote, and always naming the commonest class.

    `ceiling` is the share of samples whose vote costs the most that a vote can, with the paper's noise.
    """

    samples: int
    mean: float
    worst: float
    vote: float
    chance: float
    ceiling: float

    @property
    def weakness(self) -> str | None:
        """A sentence of warning if the vote is too weak to be useful, else None."""
        if self.vote < self.chance + WEAK * (1 - self.chance):
            return (
                f"the vote is right in {self.vote:.1%} of the samples held back, where guessing is in"
                f" {self.chance:.1%}: teachers this weak disagree on legitimate queries as on an attacker's; give more"
                " data, fewer --teachers or another --trunk"
            )
        if self.ceiling > CROWDED:
            return (
                f"{self.ceiling:.1%} of the votes on samples held back cost the most that a vote can: an attacker's"
                " queries cannot cost more; give more data, fewer --teachers or another --trunk"
            )
        return None


def measure_accuracy(ensemble: Voters, values: Tensor, labels: Tensor) -> Accuracy:
    """Measure an ensemble on samples `values` `[n, ...]` with classes `labels` int64 `[n]`, both on its device."""
    right: list[Tensor] = []
    right_votes = at_ceiling = 0
    accountant: Accountant | None = None
    batches = track(torch.split(values, LARGEST_BATCH), "measuring", "batch")
    with torch.inference_mode():
        for batch, truth in zip(batches, torch.split(labels, LARGEST_BATCH), strict=True):
            cast = ensemble.ballots(batch)
            right.append((cast == truth).sum(dim=1))
            votes = count_votes(cast, ensemble.classes)
            right_votes += int((votes.argmax(dim=1) == truth).sum())
            accountant = accountant or _accountant(len(cast))
            at_ceiling += int((accountant.costs(votes.cpu()) >= CEILING * accountant.highest).sum())
    teachers = torch.stack(right).sum(dim=0).double() / len(labels)
    commonest = int(torch.bincount(labels).max())
    return Accuracy(
        samples=len(labels),
        mean=float(teachers.mean()),
        worst=float(teachers.min()),
        vote=right_votes / len(labels),
        chance=commonest / len(labels),
        ceiling=at_ceiling / len(labels),
    )


def _accountant(teachers: int) -> Accountant:
    """Return an accountant of each vote's epsilon with the noise of the paper."""
    settings = vote_settings(teachers, None)
    return Accountant.epsilon_at(settings["delta"], settings["sigma"], teachers)
