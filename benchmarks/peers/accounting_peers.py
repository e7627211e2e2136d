"""Privacy accounting of the same votes by Calpow's tables and by autodp, with times."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from autodp.converter import rdp_to_approxdp
from autodp.rdp_bank import RDP_depend_pate_gaussian
from scipy.special import log_ndtr, logsumexp

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.gnmax.composition import rdp_epsilon

TEACHERS, SIGMA, CLASSES, DELTA = 250, 10.0, 10, 1e-5
ORDER = 8.0
ANSWERS = 1_000
REPETITIONS = 5

Costs = Callable[[list[int]], float]


@dataclass(frozen=True)
class Accounting:
    """One quantity by both: microseconds an answer, from its votes, and the largest relative difference."""

    quantity: str
    ours: float
    autodp: float
    difference: float


def accounting() -> Iterator[Accounting]:
    """Compute what answers cost, Renyi differential privacy at one order and epsilon at the best, by both."""
    rows = votes(ANSWERS)
    rdps = _both(rows, Accountant.rdp_at(ORDER, SIGMA, TEACHERS).cost, lambda row: autodp_rdp(row, ORDER))
    yield Accounting(f"RDP of an answer at order {ORDER:g}", *rdps.microseconds, rdps.difference)
    sums = [rdp_epsilon(sum(costs), ORDER, DELTA) for costs in rdps.costs]
    name = f"epsilon of all {len(rows):,} answers together, by that order"
    yield Accounting(name, *rdps.microseconds, abs(sums[0] / sums[1] - 1))
    best = _both(rows, Accountant.epsilon_at(DELTA, SIGMA, TEACHERS).cost, autodp_epsilon)
    yield Accounting("epsilon of an answer, by its best order", *best.microseconds, best.difference)


def votes(count: int) -> list[list[int]]:
    """Return the votes of teachers who agree more or less."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([0.05] * CLASSES, size=count)
    return [rng.multinomial(TEACHERS, share).tolist() for share in shares]


def autodp_rdp(row: Sequence[int], order: float) -> float:
    """Return autodp's RDP of an answer, from its votes."""
    return _rdp_of(_log_q(row), order)


def autodp_epsilon(row: Sequence[int]) -> float:
    """Return autodp's epsilon of an answer at the order that its search finds, by the conversion that ours has."""
    log_q_of_row = _log_q(row)
    epsilon = rdp_to_approxdp(lambda order: _rdp_of(log_q_of_row, order), BBGHS_conversion=False)
    # The search begins at orders whose epsilon is infinite.
    with np.errstate(invalid="ignore"):
        return float(epsilon(DELTA))


def _log_q(row: Sequence[int]) -> float:
    """Return the log of the bound of proposition 7, which autodp takes as given."""
    first, *others = sorted(row, reverse=True)
    gaps = first - np.array(others)
    return min(float(logsumexp(log_ndtr(-gaps / (math.sqrt(2) * SIGMA)))), math.log1p(-1 / len(row)))


def _rdp_of(log_q_of_row: float, order: float) -> float:
    try:
        return float(RDP_depend_pate_gaussian({"sigma": SIGMA, "logq": log_q_of_row}, np.array([order]))[0])
    except ValueError:
        # Where theorem 6 gives no bound, it tests an empty array, which numpy 2 refuses; before, it returned this.
        return order / SIGMA**2


@dataclass(frozen=True)
class _Both:
    costs: tuple[Sequence[float], Sequence[float]]
    microseconds: tuple[float, float]

    @property
    def difference(self) -> float:
        """The largest relative difference."""
        ours, theirs = map(np.array, self.costs)
        return float(np.max(np.abs(ours - theirs) / np.maximum(theirs, 1e-12)))


def _both(rows: Sequence[list[int]], ours: Costs, theirs: Costs) -> _Both:
    """Return the costs of all rows by both, and the least mean microseconds of some repetitions in turns."""
    seconds: list[list[float]] = [[], []]
    costs: list[Sequence[float]] = [[], []]
    for _ in range(REPETITIONS):
        for place, cost in enumerate((ours, theirs)):
            begun = time.thread_time()
            costs[place] = [cost(row) for row in rows]
            seconds[place].append(time.thread_time() - begun)
    ours_us, theirs_us = [1e6 * min(times) / len(rows) for times in seconds]
    return _Both((costs[0], costs[1]), (ours_us, theirs_us))
