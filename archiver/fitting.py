"""The parameters of both policies, from held-out legitimate samples: pure functions, no model and no clock."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from tqdm import tqdm

from calpow.archiver.simulation import (
    CHECKPOINTS,
    HORIZONS,
    RESAMPLES,
    Floats,
    Outcome,
    Samples,
    Users,
    merge,
    outcome,
    resampled_pairs,
    simulate,
    simulate_standard,
)
from calpow.handler.policies import Conditional, Paper
from calpow.puzzle.errors import CalpowError

# A legitimate user may pay this many times the floor and stay within the budget: the floor leaves that room.
ROOM = 1.25
# Beyond two deviations a multiple of 100 for each further 1.5, up to the paper's longest puzzle (2,948 s for 1 s).
THRESHOLD = 2.0
GROWTH = math.log(100.0) / 1.5
CAP = 2948.0
# Queries cheaper than this share of legitimate ones of their class count as dear as that one: see class_floors.
CREDIT_QUANTILE = 0.75
# The paper's `a`; smaller where the data cannot tell a standard user's cost well enough for it.
PAPER_BASE = 1.0075
FEWEST_PER_CLASS = 10
# Queries after which what a single one costs no longer matters.
LONG = tuple(horizon for horizon in HORIZONS if horizon >= 1_000)


class FittingError(CalpowError):
    """The samples do not tell enough about legitimate use."""


@dataclass(frozen=True)
class Line:
    """y = slope x + intercept."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class FittedConditional:
    """The policy, what its simulated users pay, and the policy as cross-fitted, before it was widened."""

    policy: Conditional
    outcome: Outcome
    cross_fitted: Conditional


@dataclass(frozen=True)
class FittedPaper:
    """The policy, and what its simulated standard users pay."""

    policy: Paper
    outcome: Outcome


def fit_line(x: Sequence[float], y: Sequence[float], weights: Sequence[float] | None = None) -> Line:
    """Weighted least squares of y on x."""
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    across = np.asarray(x, dtype=np.float64) - np.average(x, weights=w)
    slope = float((w * across * np.asarray(y)).sum() / (w * across**2).sum())
    return Line(slope, float(np.average(y, weights=w) - slope * np.average(x, weights=w)))


def class_floors(samples: Samples, ceiling: float) -> Floats:
    """What cheaper queries are counted as, by class with most votes, `[classes]`; of all samples for a class without.

    Quantile CREDIT_QUANTILE of the cost, but at most halfway from the mean to the ceiling: where teachers disagree on
    many legitimate queries, there must be room left above them.
    """

    def floor(costs: Floats) -> float:
        return min(float(np.quantile(costs, CREDIT_QUANTILE)), (float(costs.mean()) + ceiling) / 2)

    by_class = [samples.costs[samples.voted == index] for index in range(len(samples.class_names))]
    return np.array([floor(costs if len(costs) else samples.costs) for costs in by_class])


def class_means(samples: Samples) -> Floats:
    """Mean cost by class with most votes, `[classes]`; the mean of all where a class never has them."""
    classes = len(samples.class_names)
    counts = np.bincount(samples.voted, minlength=classes)
    sums = np.bincount(samples.voted, weights=samples.costs, minlength=classes)
    means: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), samples.costs.mean())
    return means


def fit_conditional(samples: Samples, ceiling: float, rng: np.random.Generator) -> FittedConditional:
    """Fit the conditional policy; `ceiling` is the most that any query can cost.

    Spread and deviation are cross-fitted, then widened until every profile of simulated users has room: first the
    spread for long streams, where it alone counts, then the deviation for short ones. Raises FittingError where a
    class has too few samples or the costs tell nothing.
    """
    fewest = _fewest_per_class(samples, ceiling)
    floors = class_floors(samples, ceiling)
    samples = replace(samples, costs=np.maximum(samples.costs, floors[samples.voted]))
    users, squared = _conditional_users(samples, rng)
    means = class_means(samples)
    burst = ceiling - float(means.min())
    # What a class of n groups shows cannot rule out one worst query in n.
    unseen = burst / fewest
    spread = max(unseen, _root_mean_square([sums[:, -1] / CHECKPOINTS[-1] for sums in users.values()]))
    deviation = max(unseen, math.sqrt(squared))
    first = Conditional(tuple(floors.tolist()), tuple(means.tolist()), deviation, spread, burst, THRESHOLD, GROWTH)
    steady = _widen(lambda by: replace(first, spread=first.spread * by), users, LONG)
    policy = _widen(lambda by: replace(steady, deviation=deviation * by), users, HORIZONS)
    return FittedConditional(policy, outcome(users, partial(conditional_multiples, policy)), first)


def fit_paper(samples: Samples, ceiling: float, rng: np.random.Generator) -> FittedPaper:
    """Fit the paper's policy: its `a`, or, to 5 %, the largest with which simulated standard users have room.

    The baseline is the least-squares line through the expected summed cost, which is queries times the mean.
    Raises FittingError.
    """
    _fewest_per_class(samples, ceiling)
    users = _standard_users(samples, rng)
    log_base = math.log(PAPER_BASE)
    while not _has_room(found := outcome(users, partial(paper_multiples, log_base))):
        log_base *= 0.95
    return FittedPaper(Paper(float(samples.costs.mean()), 0.0, math.exp(log_base)), found)


def conditional_multiples(policy: Conditional, excess: Floats) -> Floats:
    """`policy.log_multiple` as a capped multiple, for summed excesses `[users, checkpoints]`."""
    n = CHECKPOINTS.astype(np.float64)
    scale = np.sqrt(policy.burst**2 + policy.deviation**2 * n + policy.spread**2 * n**2)
    return _capped(policy.growth * np.maximum(0.0, excess / scale - policy.threshold))


def paper_multiples(log_base: float, distances: Floats) -> Floats:
    """The paper's f(x) as a capped multiple, for distances from the baseline `[users, checkpoints]`."""
    return _capped(log_base * np.abs(distances))


def _capped(log_multiples: Floats) -> Floats:
    capped: Floats = np.exp(np.minimum(log_multiples, math.log(CAP)))
    return capped


def _has_room(found: Outcome) -> bool:
    return max(found.mean, found.percentile) <= ROOM


def _widen(widened: Callable[[float], Conditional], users: Users, horizons: Sequence[int]) -> Conditional:
    """The policy widened by the smallest factor from 1 on, to 1 %, that leaves the users room."""

    def fits(by: float) -> bool:
        return _has_room(outcome(users, partial(conditional_multiples, widened(by)), horizons))

    low = high = 1.0
    while not fits(high):
        low, high = high, 2.0 * high
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return widened(high)


def _conditional_users(samples: Samples, rng: np.random.Generator) -> tuple[Users, float]:
    """Users with their summed excesses, and the mean square of a single excess."""
    parts, squares = [], []
    pairs = resampled_pairs(samples, rng)
    for fitted_on, drawn_from in tqdm(pairs, total=RESAMPLES, desc="simulating", unit="pair", disable=None):
        excess = drawn_from.costs - class_means(fitted_on)[drawn_from.voted]
        parts.append(simulate(excess, drawn_from, rng))
        squares.append(float((excess**2).mean()))
    return merge(parts), float(np.mean(squares))


def _standard_users(samples: Samples, rng: np.random.Generator) -> Users:
    """The paper's standard users, who send all classes in random order, with their distances from the baseline."""
    parts = []
    for fitted_on, drawn_from in resampled_pairs(samples, rng):
        distance = drawn_from.costs - fitted_on.costs.mean()
        parts.append(simulate_standard(distance, rng))
    return merge(parts)


def _root_mean_square(values: Sequence[Floats]) -> float:
    return math.sqrt(np.mean(np.concatenate(values) ** 2))


def _fewest_per_class(samples: Samples, ceiling: float) -> int:
    """Groups of the class with fewest. Raises FittingError unless the samples can be fitted."""
    if not np.isfinite(samples.costs).all():
        raise FittingError("some samples have no finite cost: train the teachers again")
    if samples.costs.min() >= ceiling:
        raise FittingError("every sample costs the most that a query can: the teachers never agree, train others")
    counts = samples.groups_per_class().tolist()
    if min(counts) < FEWEST_PER_CLASS:
        name = samples.class_names[counts.index(min(counts))]
        raise FittingError(
            f"class {name} has {min(counts)} independent samples to calibrate with: give at least {FEWEST_PER_CLASS}"
        )
    return int(min(counts))
