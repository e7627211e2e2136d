"""Fit of the paper's policy to held-out legitimate samples."""

import math
from dataclasses import dataclass

import numpy as np

from calpow.archiver.calibration.policy_fit.wealth import mean_payments
from calpow.archiver.calibration.samples import Floats, Samples
from calpow.archiver.errors import FittingError
from calpow.handler.policy.paper import Paper

# The paper's `a`; smaller where the data do not determine a standard user's cost well enough for it.
PAPER_BASE = 1.0075
USERS = 200
LENGTHS = (100, 1000)
QUERIES = LENGTHS[-1]


@dataclass(frozen=True)
class FittedPaper:
    """The policy, and what the 99th percentile of standard users pays under it, in floors."""

    policy: Paper
    payment: float


def fit_paper(samples: Samples, budget: float, cap: float, rng: np.random.Generator) -> FittedPaper:
    """Fit the paper's policy with its own `a`, or the largest, to 5 %, that keeps standard users within the budget.

    The baseline is the expected summed cost by the first score: queries times the mean. Standard users send samples of
    all classes in random order, drawn from another resample than the baseline. Raises FittingError for costs that are
    not finite.
    """
    costs = samples.first_costs
    if not np.isfinite(costs).all():
        raise FittingError("some samples have a first score that is not finite: leave that score out")
    distances = np.abs(np.cumsum(_walks(costs, rng), axis=1))
    log_base = math.log(PAPER_BASE)
    while (payment := _payment(distances, log_base, cap)) > budget:
        log_base *= 0.95
    return FittedPaper(Paper(float(costs.mean()), 0.0, math.exp(log_base)), payment)


def paper_multiples(log_base: float, distances: Floats, cap: float) -> Floats:
    """Return the paper's f(x) as capped multiples of the floor, for distances from the baseline."""
    prices: Floats = np.exp(np.minimum(log_base * np.abs(distances), math.log(cap)))
    return prices


def _walks(costs: Floats, rng: np.random.Generator) -> Floats:
    """Return what each query adds to users' distances from the baseline, `[users, queries]`."""
    rows = []
    for _ in range(USERS):
        baseline = rng.choice(costs, len(costs)).mean()
        rows.append(rng.choice(costs, QUERIES) - baseline)
    return np.stack(rows)


def _payment(distances: Floats, log_base: float, cap: float) -> float:
    payments = mean_payments(paper_multiples(log_base, distances, cap), LENGTHS)
    return float(np.percentile(payments, 99, axis=0).max())
