"""The paper's metric: the privacy cost of answering by a noisy vote of teachers (appendix D)."""

from collections.abc import Callable

import torch
from torch import Tensor

from calpow.handler.leakage.base import Need, Priced, Seen
from calpow.handler.leakage.rdp import gnmax_epsilon

LARGEST_PART = 1024


class Pate:
    """Prices a query by the GNMax epsilon of the teachers' votes: the less they agree, the more it costs."""

    def __init__(self, ensemble: Callable[[Tensor], Tensor], sigma: float, delta: float) -> None:
        """`ensemble` maps inputs `[n, ...]` to vote counts `[n, classes]`; `sigma` is the noise in votes."""
        self._ensemble = ensemble
        self._sigma = sigma
        self._delta = delta

    @property
    def needs(self) -> Need:
        """Nothing of the victim: teachers look at its inputs."""
        return Need.NOTHING

    def price(self, seen: Seen) -> Priced:
        """Price a batch; the label is the class with most votes, the first of those where several tie."""
        votes = self._ensemble(seen.inputs)
        # In parts: each sample takes a float64 for each of some 400 orders, several times over.
        epsilons = [gnmax_epsilon(part, self._sigma, self._delta) for part in torch.split(votes, LARGEST_PART)]
        costs = epsilons[0] if len(epsilons) == 1 else torch.cat(epsilons)
        return Priced(costs.cpu(), votes.argmax(dim=-1).cpu())
