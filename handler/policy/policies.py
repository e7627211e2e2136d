"""From what an account has run up to what its next answer takes: the policies and the reference solver.

A policy says how many times the floor a sample costs, as a natural logarithm: the paper's exponential overflows a
float within one MNIST attack.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calpow.handler.ledger.ledger import Totals

MICRO = 1_000_000
# Beyond three deviations one query is as odd as can be: a few wild costs must not decide over a user.
LARGEST_SCORE = 3.0


@dataclass(frozen=True)
class Standard:
    """What legitimate queries cost by one metric, by class of the answer: means and deviations, `[classes]`."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]


@dataclass(frozen=True)
class Conditional:
    """One-sided: how much odder an account's queries are than legitimate ones with the same answers.

    A query's score is the mean over metrics of its cost, standardised by its class and at most LARGEST_SCORE; its
    excess is the score above legitimate queries of its class. After n queries with summed excess E, an account stands
    z = E / sqrt(burst^2 + deviation^2 n + spread^2 n^2) deviations above legitimate users, and pays
    exp(growth x (z - threshold)) times the floor beyond `threshold`.

    standards: what each metric's costs are standardised by.
    class_floors: by class, what a lower score is counted as. Bounds the credit that a thief earns with the cheapest
        queries he knows; legitimate ones mostly lie below it.
    class_means: mean score of legitimate queries so counted, by class.
    deviation: of one legitimate query's score from the mean of its class.
    spread: between legitimate users' mean excesses.
    burst: the most that one query can exceed its class by; keeps a fresh account's first hard query cheap.
    """

    standards: tuple[Standard, ...]
    class_floors: tuple[float, ...]
    class_means: tuple[float, ...]
    deviation: float
    spread: float
    burst: float
    threshold: float
    growth: float

    def excess(self, costs: Tensor, labels: Tensor) -> Tensor:
        """Excess of each sample, float64 `[n]`, from its costs `[n, metrics]` and class `[n]`; may be negative."""
        means, deviations, floors, class_means = self._by_class
        scores = ((costs - means[labels]) / deviations[labels]).clamp(max=LARGEST_SCORE).mean(dim=1)
        excess: Tensor = torch.maximum(scores, floors[labels]) - class_means[labels]
        return excess

    @cached_property
    def _by_class(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Means and deviations `[classes, metrics]`, floors and class means `[classes]`."""
        standards = torch.tensor([[each.means, each.deviations] for each in self.standards], dtype=torch.float64)
        means, deviations = standards.permute(1, 2, 0)
        floors, class_means = torch.tensor([self.class_floors, self.class_means], dtype=torch.float64)
        return means, deviations, floors, class_means

    def log_multiple(self, totals: Totals) -> float:
        """Log of the multiple of the floor that this account pays a sample; at least 0."""
        n = totals.queries
        scale = math.sqrt(self.burst**2 + self.deviation**2 * n + self.spread**2 * n**2)
        return self.growth * max(0.0, totals.excess_micro / MICRO / scale - self.threshold)


@dataclass(frozen=True)
class Paper:
    """The paper's rule (section 3.3): f(x) = base^|x|, x the account's distance from the baseline.

    The baseline is the line slope x queries + intercept, the summed cost of a standard user.
    """

    slope: float
    intercept: float
    base: float

    def log_multiple(self, totals: Totals) -> float:
        """Log of f(x); at least 0."""
        baseline = self.slope * totals.queries + self.intercept
        return math.log(self.base) * abs(totals.cost_micro / MICRO - baseline)


@dataclass(frozen=True)
class Bounds:
    """The paper's rule where legitimate users differ (section 3.3): f(x) = base^x, x the distance from a band.

    The band lies between two lines, slope x queries + intercept, that legitimate users' summed costs stay between.
    """

    lower_slope: float
    lower_intercept: float
    upper_slope: float
    upper_intercept: float
    base: float

    def log_multiple(self, totals: Totals) -> float:
        """Log of f(x); at least 0, and 0 between the bounds."""
        cost, n = totals.cost_micro / MICRO, totals.queries
        below = self.lower_slope * n + self.lower_intercept - cost
        above = cost - self.upper_slope * n - self.upper_intercept
        return math.log(self.base) * max(0.0, below, above)


@dataclass(frozen=True)
class SolverFit:
    """How long the reference client takes: `start_seconds` for a puzzle of any size, the rest by its hashes.

    Where the start is little, leading zero bits are linear in log seconds, as in section 3.3. A fast client's small
    puzzles are mostly start: a line through them and large ones asks several times too little in between.
    """

    start_seconds: float
    hashes_per_second: float

    def work(self, seconds: float) -> float:
        """Expected hashes of a puzzle that takes the reference client this long in the mean; at least one."""
        return max(1.0, (seconds - self.start_seconds) * self.hashes_per_second)

    def seconds(self, work: float) -> float:
        """Mean seconds the reference client takes for a puzzle of this many expected hashes."""
        return self.start_seconds + work / self.hashes_per_second
