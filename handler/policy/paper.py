"""The paper's policy (section 3.3).

A policy states the multiple of the floor that a sample costs as a natural logarithm: the paper's exponential overflows
a float within one MNIST attack.
"""

import math
from dataclasses import dataclass

from calpow.handler.ledger.history import MICRO, History


@dataclass(frozen=True)
class Paper:
    """The paper's rule (section 3.3): f(x) = base^|x|, x the account's distance from the baseline.

    The baseline is the line slope x queries + intercept, the summed cost of a standard user.
    """

    slope: float
    intercept: float
    base: float

    def log_multiple(self, history: History) -> float:
        """Return log f(x), at least 0."""
        baseline = self.slope * history.queries + self.intercept
        return math.log(self.base) * abs(history.cost_micro / MICRO - baseline)
