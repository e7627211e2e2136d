"""Private kNN (Zhu et al. 2020; the paper's B.5): the nearest training points are the teachers."""

from collections.abc import Callable

from torch import Tensor

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.score import Need, Priced, Seen


class Pknn:
    """Prices a query by what GNMax spends on the votes of its nearest training points, as PATE does on teachers'."""

    def __init__(self, votes: Callable[[Tensor], Tensor], accountant: Accountant) -> None:
        """`votes` is Neighbours.votes, features `[n, f]` -> `[n, classes]`; `accountant` has its k as teachers."""
        self._votes = votes
        self._accountant = accountant
        self.highest = accountant.highest

    @property
    def needs(self) -> Need:
        """The victim's representation."""
        return Need.FEATURES

    def price(self, seen: Seen) -> Priced:
        """Price a batch; the label is the class with most votes, the first of those where several tie."""
        if seen.features is None:
            raise ValueError("this metric was not shown the features it needs")
        votes = self._votes(seen.features)
        return Priced(self._accountant.costs(votes), votes.argmax(dim=-1))
