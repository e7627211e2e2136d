"""Scores of the victim's own answer: how far it is from one certain class (the paper's B.6), and its energy."""

import math

import torch
from torch import Tensor

from calpow.handler.leakage.score import ODDEST, SampleBatch, VictimOutput, required


class Entropy:
    """Cost of a query: the Shannon entropy of the victim's probabilities in nats, from 0 to log(classes)."""

    needs = VictimOutput.PROBABILITIES

    def __init__(self, classes: int) -> None:
        self.highest = math.log(classes)

    def costs(self, batch: SampleBatch) -> Tensor:
        """Return the samples' entropies."""
        logs = required(batch.log_probabilities, "probabilities")
        entropies: Tensor = torch.special.entr(logs.exp()).sum(dim=-1)
        return entropies


class Gap:
    """Cost of a query: 1 - (p1 - p2), p1 and p2 the victim's two largest probabilities; from 0 to 1."""

    needs = VictimOutput.PROBABILITIES
    highest = 1.0

    def costs(self, batch: SampleBatch) -> Tensor:
        """Return the samples' gaps."""
        logs = required(batch.log_probabilities, "probabilities")
        first, second = logs.topk(2, dim=-1).values.exp().unbind(dim=-1)
        return (1 - (first - second)).clamp(min=0.0)


class Energy:
    """Cost of a query: the free energy of the victim's logits, -logsumexp (Liu et al., NeurIPS 2020), of any sign."""

    needs = VictimOutput.LOGITS
    highest = ODDEST

    def costs(self, batch: SampleBatch) -> Tensor:
        """Return the samples' energies."""
        logits = required(batch.logits, "logits")
        # The difference is the same for each class, and most exact for the likeliest; logsumexp takes twice the time.
        return logits.log_softmax(dim=1).amax(dim=1) - logits.amax(dim=1)
