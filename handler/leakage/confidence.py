"""Scores of the victim's own answer (the paper's B.6): how far it is from one certain class."""

import math

import torch
from torch import Tensor

from calpow.handler.leakage.score import SampleBatch, ScoredSamples, VictimOutput


class Entropy:
    """Cost of a query: the Shannon entropy of the victim's probabilities in nats, from 0 to log(classes).

    The class is the victim's answer, the first of the likeliest classes where several tie.
    """

    needs = VictimOutput.PROBABILITIES

    def __init__(self, classes: int) -> None:
        self.highest = math.log(classes)

    def price(self, batch: SampleBatch) -> ScoredSamples:
        """Return the samples' entropies and classes."""
        logs = _log_probabilities(batch)
        costs: Tensor = torch.special.entr(logs.exp()).sum(dim=-1)
        return ScoredSamples(costs.cpu(), logs.argmax(dim=-1).cpu())


class Gap:
    """Cost of a query: 1 - (p1 - p2), p1 and p2 the victim's two largest probabilities; from 0 to 1.

    The class is the victim's answer, the first of the likeliest classes where several tie.
    """

    needs = VictimOutput.PROBABILITIES
    highest = 1.0

    def price(self, batch: SampleBatch) -> ScoredSamples:
        """Return the samples' gaps and classes."""
        logs = _log_probabilities(batch)
        first, second = logs.topk(2, dim=-1).values.exp().unbind(dim=-1)
        costs = (1 - (first - second)).clamp(min=0.0)
        return ScoredSamples(costs.cpu(), logs.argmax(dim=-1).cpu())


def _log_probabilities(batch: SampleBatch) -> Tensor:
    if batch.log_probabilities is None:
        raise ValueError("this score needs the victim's probabilities")
    return batch.log_probabilities
