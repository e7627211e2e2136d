"""The parameters of both policies, from held-out legitimate samples: pure functions, no model and no clock."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

from calpow.archiver.calibration.simulated_users import (
    PERCENTILE,
    RESAMPLES,
    Course,
    Floats,
    Ints,
    Outcome,
    Samples,
    Users,
    merge,
    outcome,
    resampled_pairs,
    simulate,
    simulate_accounts,
    simulate_standard,
)
from calpow.handler.policy.policies import LARGEST_SCORE, Bounds, Conditional, Paper, Standard
from calpow.puzzle.errors import CalpowError

# A legitimate user may pay this many times the floor and stay within the budget: the floor leaves that room.
ROOM = 1.25
# Beyond two deviations a multiple of 100 for each further 1.5, up to the paper's longest puzzle (2,948 s for 1 s).
THRESHOLD = 2.0
GROWTH = math.log(100.0) / 1.5
CAP = 2948.0
# Queries that score less than this share of legitimate ones of their class count as that one: see class_floors.
CREDIT_QUANTILE = 0.75
# A class whose legitimate costs hardly vary is standardised by this share of what they vary in the mean class: its
# next query is not odd because it costs a hair more.
LEAST_DEVIATION = 0.5
# The paper's `a`; smaller where the data cannot tell a standard user's cost well enough for it.
PAPER_BASE = 1.0075
FEWEST_PER_CLASS = 10
# A class that was answered less often tells nothing of its own: a thief could steer his queries there.
FEWEST_ANSWERS = 5
# Queries after which what a single one costs no longer matters.
LONG = 1_000
# What the deviation is widened by, each time with the least spread that goes with it.
WIDER_DEVIATIONS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0)


class FittingError(CalpowError):
    """The samples do not tell enough about legitimate use."""


@dataclass(frozen=True)
class Line:
    """y = slope x + intercept."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class FittedConditional:
    """The policy, what its simulated users pay, and the policy as cross-fitted, before it was widened.

    `users` are their summed excesses.
    """

    policy: Conditional
    outcome: Outcome
    cross_fitted: Conditional
    users: Users


@dataclass(frozen=True)
class FittedPaper:
    """The policy, what its simulated standard users pay, and their summed costs' distance from the baseline."""

    policy: Paper
    outcome: Outcome
    users: Users


@dataclass(frozen=True)
class FittedBounds:
    """The policy, what its simulated users pay, and their summed costs."""

    policy: Bounds
    outcome: Outcome
    users: Users


def fit_line(x: Sequence[float], y: Sequence[float], weights: Sequence[float] | None = None) -> Line:
    """Weighted least squares of y on x."""
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    across = np.asarray(x, dtype=np.float64) - np.average(x, weights=w)
    slope = float((w * across * np.asarray(y)).sum() / (w * across**2).sum())
    return Line(slope, float(np.average(y, weights=w) - slope * np.average(x, weights=w)))


def fit_scale(samples: Samples, ceilings: Floats) -> Conditional:
    """What a query's excess is measured against, `[classes]` each; spread and deviation are still to be fitted.

    `ceilings` `[metrics]` is the most that a query can cost. A class that is
    hardly ever answered is taken for the mean class.
    """
    standards = _standards(samples)
    highest = np.minimum((ceilings[:, None] - standards[0]) / standards[1], LARGEST_SCORE).mean(axis=0)
    scale = Conditional(
        standards=tuple(Standard(tuple(m), tuple(d)) for m, d in zip(*map(np.ndarray.tolist, standards), strict=True)),
        class_floors=(-math.inf,) * len(samples.class_names),
        class_means=(0.0,) * len(samples.class_names),
        deviation=1.0,
        spread=1.0,
        burst=1.0,
        threshold=THRESHOLD,
        growth=GROWTH,
    )
    scores = excesses(scale, samples)
    floors = _class_floors(scores, samples.labels, highest)
    means = _by_class(np.maximum(scores, floors[samples.labels]), samples.labels, len(floors))
    # What a query can exceed its class by; never nothing, for a class that always costs the most.
    burst = float(max((highest - means).max(), LEAST_DEVIATION))
    return replace(scale, class_floors=tuple(floors.tolist()), class_means=tuple(means.tolist()), burst=burst)


def excesses(policy: Conditional, samples: Samples) -> Floats:
    """The excess of each sample, `[n]`."""
    return excesses_of(policy, samples.costs, samples.labels)


def excesses_of(policy: Conditional, costs: Floats, labels: Ints) -> Floats:
    """The excess of queries with these costs `[n, metrics]` and labels `[n]`: `[n]`."""
    found: Floats = policy.excess(torch.from_numpy(costs), torch.from_numpy(labels)).numpy()
    return found


def fit_conditional(
    samples: Samples, ceilings: Floats, course: Course, rng: np.random.Generator, *, quiet: bool = False
) -> FittedConditional:
    """Fit the conditional policy; `ceilings` `[metrics]` is the most that any query can cost.

    Spread and deviation are cross-fitted, then widened until every profile of simulated users has room: of the pairs
    that give it, the one that leaves thieves the least after LONG queries. Widening one after the other would have
    the spread, which counts for ever, make up for what a few early queries of legitimate users cost. Raises
    FittingError where a class has too few samples or the costs tell nothing.
    """
    fewest = _fewest_per_class(samples, ceilings)
    users, squared = _conditional_users(samples, ceilings, course, rng, quiet)
    scale = fit_scale(samples, ceilings)
    # What a class of n groups shows cannot rule out one worst query in n.
    unseen = scale.burst / fewest
    spread = max(unseen, _root_mean_square([sums[:, -1] / course.horizon for sums in users.values()]))
    deviation = max(unseen, math.sqrt(squared))
    first = replace(scale, spread=spread, deviation=deviation)
    policy = min(
        (_roomy(replace(first, deviation=deviation * by), users, course) for by in WIDER_DEVIATIONS),
        key=lambda each: each.deviation**2 / LONG + each.spread**2,
    )
    found = outcome(users, partial(conditional_multiples, policy, course.checkpoints), course)
    return FittedConditional(policy, found, first, users)


def fit_paper(samples: Samples, ceilings: Floats, course: Course, rng: np.random.Generator) -> FittedPaper:
    """Fit the paper's policy: its `a`, or, to 5 %, the largest with which simulated standard users have room.

    The baseline is the least-squares line through the expected summed cost by the first metric, which is queries
    times the mean. Raises FittingError.
    """
    _fewest_per_class(samples, ceilings)
    users = _standard_users(samples, course, rng)
    log_base = math.log(PAPER_BASE)
    while not _has_room(found := outcome(users, partial(paper_multiples, log_base), course)):
        log_base *= 0.95
    return FittedPaper(Paper(float(samples.costs[:, 0].mean()), 0.0, math.exp(log_base)), found, users)


def fit_bounds(samples: Samples, ceilings: Floats, course: Course, rng: np.random.Generator) -> FittedBounds:
    """Fit the band that 98 of 100 users of every kind stay in, and the paper's `a`, smaller where they lack room.

    The slopes are those of the cheapest and dearest users at the horizon, the intercepts what shorter streams need.
    Raises FittingError.
    """
    _fewest_per_class(samples, ceilings)
    users = merge([simulate(drawn.costs[:, 0], drawn, course, rng) for drawn, _ in resampled_pairs(samples, rng)])
    spans = np.stack([np.percentile(sums, (100 - PERCENTILE, PERCENTILE), axis=0) for sums in users.values()])
    lowest, highest = spans[:, 0].min(axis=0), spans[:, 1].max(axis=0)
    slopes = lowest[-1] / course.horizon, highest[-1] / course.horizon
    intercepts = (
        float((lowest - slopes[0] * course.checkpoints).min()),
        float((highest - slopes[1] * course.checkpoints).max()),
    )
    policy = Bounds(float(slopes[0]), intercepts[0], float(slopes[1]), intercepts[1], PAPER_BASE)
    while not _has_room(found := outcome(users, partial(bounds_multiples, policy, course.checkpoints), course)):
        policy = replace(policy, base=policy.base**0.95)
    return FittedBounds(policy, found, users)


def conditional_multiples(policy: Conditional, queries: Ints, excess: Floats, cap: float = CAP) -> Floats:
    """`policy.log_multiple` as a capped multiple, for summed excesses `[users, checkpoints]` after so many queries."""
    n = queries.astype(np.float64)
    scale = np.sqrt(policy.burst**2 + policy.deviation**2 * n + policy.spread**2 * n**2)
    return _capped(policy.growth * np.maximum(0.0, excess / scale - policy.threshold), cap)


def paper_multiples(log_base: float, distances: Floats, cap: float = CAP) -> Floats:
    """The paper's f(x) as a capped multiple, for distances from the baseline `[users, checkpoints]`."""
    return _capped(log_base * np.abs(distances), cap)


def bounds_multiples(policy: Bounds, queries: Ints, costs: Floats, cap: float = CAP) -> Floats:
    """`policy.log_multiple` as a capped multiple, for summed costs `[users, checkpoints]` after so many queries."""
    below = policy.lower_slope * queries + policy.lower_intercept - costs
    above = costs - policy.upper_slope * queries - policy.upper_intercept
    return _capped(math.log(policy.base) * np.maximum(np.maximum(below, above), 0.0), cap)


def _capped(log_multiples: Floats, cap: float) -> Floats:
    capped: Floats = np.exp(np.minimum(log_multiples, math.log(cap)))
    return capped


def _standards(samples: Samples) -> tuple[Floats, Floats]:
    """Means and deviations by metric and class, `[metrics, classes]`."""
    classes = len(samples.class_names)
    columns = samples.costs.T
    means = np.stack([_by_class(column, samples.labels, classes) for column in columns])
    around = columns - means[:, samples.labels]
    variances = np.stack([_by_class(each**2, samples.labels, classes) for each in around])
    pooled = np.sqrt((around**2).mean(axis=1, keepdims=True))
    # A metric that never varies tells nothing: any deviation does.
    least = np.where(pooled > 0, LEAST_DEVIATION * pooled, 1.0)
    return means, np.maximum(np.sqrt(variances), least)


def _by_class(values: Floats, labels: Ints, classes: int) -> Floats:
    """Means by class, `[classes]`; the mean of all for a class that is hardly ever answered."""
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=values, minlength=classes)
    means: Floats = np.where(counts >= FEWEST_ANSWERS, sums / np.maximum(counts, 1), values.mean())
    return means


def _class_floors(scores: Floats, labels: Ints, highest: Floats) -> Floats:
    """What lower scores are counted as, by class, `[classes]`; of all samples for a class that is hardly ever answered.

    Quantile CREDIT_QUANTILE of the scores, but at most halfway from the mean to the highest possible one: where
    legitimate queries are odd themselves, there must be room left above them.
    """
    floors = []
    for index, ceiling in enumerate(highest.tolist()):
        mine = scores[labels == index]
        mine = mine if len(mine) >= FEWEST_ANSWERS else scores
        floors.append(min(float(np.quantile(mine, CREDIT_QUANTILE)), (float(mine.mean()) + ceiling) / 2))
    return np.array(floors)


def _has_room(found: Outcome) -> bool:
    return max(found.mean, found.percentile) <= ROOM


def _roomy(policy: Conditional, users: Users, course: Course) -> Conditional:
    """The policy with its spread widened by the smallest factor from 1 on, to 1 %, that leaves the users room."""

    def widened(by: float) -> Conditional:
        return replace(policy, spread=policy.spread * by)

    def fits(by: float) -> bool:
        multiples = partial(conditional_multiples, widened(by), course.checkpoints)
        return _has_room(outcome(users, multiples, course))

    low = high = 1.0
    while not fits(high):
        low, high = high, 2.0 * high
    while high > 1.01 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return widened(high)


def _conditional_users(
    samples: Samples, ceilings: Floats, course: Course, rng: np.random.Generator, quiet: bool
) -> tuple[Users, float]:
    """Users with their summed excesses, and the mean square of a single excess."""
    parts, squares = [], []
    pairs = resampled_pairs(samples, rng)
    for fitted_on, drawn_from in tqdm(
        pairs, total=RESAMPLES, desc="simulating", unit="pair", disable=True if quiet else None
    ):
        scale = fit_scale(fitted_on, ceilings)
        excess = excesses(scale, drawn_from)
        recorded = simulate_accounts(excesses(scale, samples), samples, course, rng) if samples.by_account else {}
        parts.append(simulate(excess, drawn_from, course, rng) | recorded)
        squares.append(float((excess**2).mean()))
    return merge(parts), float(np.mean(squares))


def _standard_users(samples: Samples, course: Course, rng: np.random.Generator) -> Users:
    """The paper's standard users, who send all classes in random order, with their distances from the baseline."""
    parts = []
    for fitted_on, drawn_from in resampled_pairs(samples, rng):
        distance = drawn_from.costs[:, 0] - fitted_on.costs[:, 0].mean()
        parts.append(simulate_standard(distance, course, rng))
    return merge(parts)


def _root_mean_square(values: Sequence[Floats]) -> float:
    return math.sqrt(np.mean(np.concatenate(values) ** 2))


def _fewest_per_class(samples: Samples, ceilings: Floats) -> int:
    """Groups of the class with fewest. Raises FittingError unless the samples can be fitted."""
    if not np.isfinite(samples.costs).all():
        raise FittingError("some samples have no finite cost: train the teachers again")
    if (samples.costs >= ceilings).all():
        raise FittingError("every sample costs the most that a query can: the teachers never agree, train others")
    return check_enough(samples.groups_per_class().tolist(), samples.class_names)


def check_enough(counts: Sequence[int], class_names: Sequence[str]) -> int:
    """The least of the independent samples of each class. Raises FittingError where they are too few."""
    fewest = min(counts)
    if fewest < FEWEST_PER_CLASS:
        name = class_names[counts.index(fewest)]
        raise FittingError(
            f"class {name} has {fewest} independent samples to calibrate with: give at least {FEWEST_PER_CLASS}"
        )
    return fewest
