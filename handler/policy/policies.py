"""The policies, which multiply the floor by an account's totals, and the reference client's solving times.

A policy states the multiple of the floor that a sample costs as a natural logarithm: the paper's exponential overflows
a float within one MNIST attack.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from calpow.handler.ledger.ledger import Totals

MICRO = 1_000_000
# Costs beyond three deviations count as three: a few extreme ones must not decide over a user. Decision 0016.
LARGEST_SCORE = 3.0


@dataclass(frozen=True)
class Standard:
    """Costs of legitimate queries by one score, by class of the answer: means and deviations, `[classes]`."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]


@dataclass(frozen=True)
class Conditional:
    """One-sided: how much odder an account's queries are than legitimate ones with the same answers.

    A query's score is the mean over all scores of its cost, standardised by its class and at most LARGEST_SCORE; its
    excess is the score above legitimate queries of its class. After n queries with summed excess E, an account stands
    z = E / sqrt(burst^2 + deviation^2 n + spread^2 n^2) deviations above legitimate users, and pays
    exp(growth x (z - threshold)) times the floor beyond `threshold`.

    standards: what each score's costs are standardised by.
    class_floors: by class, the least that a score counts. Bounds the credit that a thief earns with the cheapest
        queries he knows; legitimate ones mostly lie below it. Decision 0016.
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

    def excess(self, costs: Sequence[float], label: int) -> float:
        """Return the excess of a sample over legitimate ones of its class, from its cost by each score."""
        scores = [
            min((cost - standard.means[label]) / standard.deviations[label], LARGEST_SCORE)
            for cost, standard in zip(costs, self.standards, strict=True)
        ]
        return max(sum(scores) / len(scores), self.class_floors[label]) - self.class_means[label]

    def log_multiple(self, totals: Totals) -> float:
        """Return the log of the multiple of the floor that a sample of this account costs; at least 0."""
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
        """Return log f(x), at least 0."""
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
        """Return log f(x), at least 0, and 0 between the bounds."""
        cost, n = totals.cost_micro / MICRO, totals.queries
        below = self.lower_slope * n + self.lower_intercept - cost
        above = cost - self.upper_slope * n - self.upper_intercept
        return math.log(self.base) * max(0.0, below, above)


@dataclass(frozen=True)
class SolverFit:
    """Solving time of the reference client: `start_seconds` for a puzzle of any size, plus a time for each hash.

    Where the start is short, leading zero bits are linear in log seconds, as in section 3.3. The start dominates a fast
    client's small puzzles: a line through them and large ones would ask several times too little in between.
    Decision 0027.
    """

    start_seconds: float
    hashes_per_second: float

    def work(self, seconds: float) -> float:
        """Return the expected hashes of a puzzle that takes the reference client a mean of `seconds`; at least one."""
        return max(1.0, (seconds - self.start_seconds) * self.hashes_per_second)

    def seconds(self, work: float) -> float:
        """Return the mean seconds that the reference client takes for a puzzle of `work` expected hashes."""
        return self.start_seconds + work / self.hashes_per_second
