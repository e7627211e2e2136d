"""Scores of the victim's own answer: how far it is from one certain class (the paper's B.6), and its energy."""

import math

import numpy as np
import torch

from calpow.handler.leakage.score import ODDEST, Array, SampleBatch, VictimOutput, array_of, required


class Entropy:
    """Cost of a query: the Shannon entropy of the victim's probabilities in nats, from 0 to log(classes)."""

    needs = VictimOutput.PROBABILITIES

    def __init__(self, classes: int) -> None:
        self.highest = math.log(classes)

    def costs(self, batch: SampleBatch) -> Array:
        """Return the samples' entropies."""
        logs = required(batch.log_probabilities, "probabilities")
        return array_of(torch.special.entr(logs.exp()).sum(dim=-1))


class Gap:
    """Cost of a query: 1 - (p1 - p2), p1 and p2 the victim's two largest probabilities; from 0 to 1."""

    needs = VictimOutput.PROBABILITIES
    highest = 1.0

    def costs(self, batch: SampleBatch) -> Array:
        """Return the samples' gaps."""
        logs = required(batch.log_probabilities, "probabilities")
        first, second = logs.topk(2, dim=-1).values.exp().unbind(dim=-1)
        return array_of((1 - (first - second)).clamp(min=0.0))


class Energy:
    """Cost of a query: the free energy of the victim's logits, -logsumexp (Liu et al., NeurIPS 2020), of any sign."""

    needs = VictimOutput.LOGITS
    highest = ODDEST

    def costs(self, batch: SampleBatch) -> Array:
        """Return the samples' energies."""
        logits = required(batch.logits, "logits")
        energies: Array = -np.logaddexp.reduce(logits, axis=1)
        return energies
