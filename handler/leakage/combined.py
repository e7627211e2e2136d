"""Several metrics looked at together."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

import torch

from calpow.handler.leakage.base import Metric, Need, Priced, Seen


class Combined:
    """One or more metrics side by side: a column of costs each, and one class for all."""

    def __init__(self, metrics: Sequence[Metric], *, answers: bool) -> None:
        """`metrics` in the order of their columns; `answers`: whether the victim can be asked for its own."""
        self._metrics = tuple(metrics)
        asked = Need.PROBABILITIES if answers else Need.NOTHING
        self.needs = reduce(or_, (metric.needs for metric in metrics), asked)
        self.highest = max(metric.highest for metric in metrics)

    def price(self, seen: Seen) -> Priced:
        """Price a batch: costs `[n, metrics]`.

        The class is the victim's own answer where it can be asked, else the first metric's: on queries unlike any it
        was made for, the teachers' vote goes to a class on which they disagree anyway, and seems ordinary there.
        """
        priced = [metric.price(seen) for metric in self._metrics]
        answers = seen.log_probabilities
        labels = priced[0].labels if answers is None else answers.argmax(dim=1).cpu()
        return Priced(torch.stack([each.costs for each in priced], dim=1), labels)
