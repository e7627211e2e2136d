"""The paper's metric: the privacy cost of answering by a noisy vote of teachers (appendix D)."""

from collections.abc import Callable

from torch import Tensor

from calpow.handler.leakage.base import Priced
from calpow.handler.leakage.rdp import gnmax_epsilon


class Pate:
    """Prices a query by the GNMax epsilon of the teachers' votes: the less they agree, the more it costs."""

    def __init__(self, ensemble: Callable[[Tensor], Tensor], sigma: float, delta: float) -> None:
        """`ensemble` maps inputs `[n, ...]` to vote counts `[n, classes]`; `sigma` is the noise in votes."""
        self._ensemble = ensemble
        self._sigma = sigma
        self._delta = delta

    def price(self, inputs: Tensor) -> Priced:
        """Price a batch; the label is the class with most votes, the first of those where several tie."""
        votes = self._ensemble(inputs)
        return Priced(gnmax_epsilon(votes, self._sigma, self._delta).cpu(), votes.argmax(dim=-1).cpu())
