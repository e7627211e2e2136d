"""The paper's metric: the privacy cost of answering by a noisy vote of teachers (appendix D)."""

from collections.abc import Callable

from torch import Tensor

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.score import Need, Priced, Seen


class Pate:
    """Prices a query by what GNMax spends on the teachers' votes: the less they agree, the more it costs."""

    def __init__(self, ensemble: Callable[[Tensor], Tensor], accountant: Accountant) -> None:
        """`ensemble` maps inputs `[n, ...]` to vote counts int64 `[n, classes]`."""
        self._ensemble = ensemble
        self._accountant = accountant
        self.highest = accountant.highest

    @property
    def needs(self) -> Need:
        """Nothing of the victim: teachers look at its inputs."""
        return Need.NOTHING

    def price(self, seen: Seen) -> Priced:
        """Price a batch; the label is the class with most votes, the first of those where several tie."""
        votes = self._ensemble(seen.inputs).cpu()
        return Priced(self._accountant.costs(votes), votes.argmax(dim=-1))
