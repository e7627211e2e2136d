"""Metrics of the victim's own answer (the paper's B.6): how far it is from one certain class."""

import math

import torch
from torch import Tensor

from calpow.handler.leakage.score import Need, Priced, Seen


class Entropy:
    """Prices a query by the Shannon entropy of the victim's probabilities, in nats: from 0 to log(classes)."""

    def __init__(self, classes: int) -> None:
        self.highest = math.log(classes)

    @property
    def needs(self) -> Need:
        """The victim's answer."""
        return Need.PROBABILITIES

    def price(self, seen: Seen) -> Priced:
        """Price a batch; the label is the victim's answer, the first of the likeliest classes where several tie."""
        logs = _answers(seen)
        costs: Tensor = torch.special.entr(logs.exp()).sum(dim=-1)
        return Priced(costs.cpu(), logs.argmax(dim=-1).cpu())


class Gap:
    """Prices a query by 1 - (p1 - p2), the two largest probabilities of the victim's answer: from 0 to 1."""

    highest = 1.0

    @property
    def needs(self) -> Need:
        """The victim's answer."""
        return Need.PROBABILITIES

    def price(self, seen: Seen) -> Priced:
        """Price a batch; the label is the victim's answer, the first of the likeliest classes where several tie."""
        logs = _answers(seen)
        first, second = logs.topk(2, dim=-1).values.exp().unbind(dim=-1)
        costs = (1 - (first - second)).clamp(min=0.0)
        return Priced(costs.cpu(), logs.argmax(dim=-1).cpu())


def _answers(seen: Seen) -> Tensor:
    if seen.log_probabilities is None:
        raise ValueError("this metric was not shown the probabilities it needs")
    return seen.log_probabilities
