"""Scores by votes, of teachers or of the nearest training points: the privacy cost of an answer, and their entropy."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.score import Array, SampleBatch, VictimOutput, array_of, required

# From so many classes on, counts of zero are not looked at one by one.
MANY_CLASSES = 64


class VoteScore:
    """Cost of a query: the privacy cost of answering with a noisy vote (GNMax). The less voters agree, the higher."""

    def __init__(self, votes: Callable[[SampleBatch], Array], accountant: Accountant, needs: VictimOutput) -> None:
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
        return cls(
            lambda batch: array_of(votes(required(batch.features, "features"))), accountant, VictimOutput.FEATURES
        )

    def costs(self, batch: SampleBatch) -> Array:
        """Return the costs of the votes on the samples, float64 `[n]`."""
        votes, cost = self._votes(batch), self._accountant.cost
        classes = votes.shape[1]
        if classes < MANY_CLASSES:
            return np.array([cost(counts) for counts in votes.tolist()])
        given = [counts[counts > 0].tolist() for counts in votes]
        return np.array([cost(counts, classes - len(counts)) for counts in given])


class VoteEntropy:
    """Cost of a query: the Shannon entropy of the teachers' votes in nats, from 0 to log(classes).

    It orders queries on which teachers disagree, where the privacy cost is the same for all.
    """

    needs = VictimOutput.VOTES

    def __init__(self, classes: int, teachers: int) -> None:
        self.highest = math.log(classes)
        # The entropy's part of a class, by its votes.
        self._parts = array_of(torch.special.entr(torch.arange(teachers + 1, dtype=torch.float64) / teachers))

    def costs(self, batch: SampleBatch) -> Array:
        """Return the entropies of the votes on the samples."""
        votes = required(batch.votes, "teachers' votes")
        entropies: Array = np.add.reduce(self._parts[votes], axis=1)
        return entropies
