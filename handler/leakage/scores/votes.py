"""Scores by votes, of teachers or of the nearest training points: the privacy cost of an answer, and their entropy."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.score import SampleBatch, VictimOutput, required


class VoteScore:
    """Cost of a query: the privacy cost of answering with a noisy vote (GNMax). The less voters agree, the higher."""

    def __init__(self, votes: Callable[[SampleBatch], Tensor], accountant: Accountant, needs: VictimOutput) -> None:
        """`votes` maps n samples to vote counts int64 `[n, classes]`; `needs` names the outputs that it reads."""
        self._votes = votes
        self._accountant = accountant
        self.needs = needs
        self.highest = accountant.highest

    @classmethod
    def of_teachers(cls, accountant: Accountant) -> "VoteScore":
        """PATE, the paper's score (appendix D)."""
        return cls(lambda batch: required(batch.votes, "teachers' votes"), accountant, VictimOutput.VOTES)

    @classmethod
    def on_features(cls, votes: Callable[[Tensor], Tensor], accountant: Accountant) -> "VoteScore":
        """Private kNN (Zhu et al. 2020; the paper's B.5, decision 0023), whose `accountant` has k as its teachers.

        `votes` maps the victim's features `[n, f]` to vote counts int64 `[n, classes]` of the nearest training points.
        """
        return cls(lambda batch: votes(required(batch.features, "features")), accountant, VictimOutput.FEATURES)

    def costs(self, batch: SampleBatch) -> Tensor:
        """Return the costs of the votes on the samples, float64 `[n]` on the CPU."""
        return self._accountant.costs(self._votes(batch).cpu())


class VoteEntropy:
    """Cost of a query: the Shannon entropy of the teachers' votes in nats, from 0 to log(classes).

    It orders queries on which teachers disagree, where the privacy cost is the same for all.
    """

    needs = VictimOutput.VOTES

    def __init__(self, classes: int, teachers: int) -> None:
        self.highest = math.log(classes)
        shares = torch.arange(teachers + 1, dtype=torch.float64) / teachers
        # The entropy's part of a class, by its votes.
        self._parts = torch.special.entr(shares)

    def costs(self, batch: SampleBatch) -> Tensor:
        """Return the entropies of the votes on the samples."""
        votes = required(batch.votes, "teachers' votes")
        entropies: Tensor = self._parts.to(votes.device).take(votes).sum(dim=1)
        return entropies
