"""Several metrics looked at together."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

import torch

from calpow.handler.leakage.score import Metric, Need, Priced, Seen


class Combined:
    """One or more metrics side by side: a column of costs each, and one class for all."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        """`metrics` in the order of their columns."""
        self._metrics = tuple(metrics)
        self.needs = reduce(or_, (metric.needs for metric in metrics), Need.PROBABILITIES)
        self.highest = max(metric.highest for metric in metrics)

    def price(self, seen: Seen) -> Priced:
        """Price a batch: costs `[n, metrics]`.

        The class is the victim's own answer: on queries unlike any it was made for, the teachers' vote goes to a class
        on which they disagree anyway, and seems ordinary there.
        """
        if seen.log_probabilities is None:
            raise ValueError("the class of a query is the victim's answer, which was not shown")
        costs = torch.stack([metric.price(seen).costs for metric in self._metrics], dim=1)
        return Priced(costs, seen.log_probabilities.argmax(dim=1).cpu())
