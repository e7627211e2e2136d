"""Fitting of every policy to held-out legitimate samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from torch import Tensor

from calpow.archiver.calibration.samples import Floats, Ints, Samples
from calpow.archiver.calibration.simulated_users import (
    PERCENTILE,
    RESAMPLES,
    Payments,
    StreamLengths,
    Users,
    merge,
    payments,
    resampled_pairs,
    simulate,
    simulate_accounts,
    simulate_standard,
)
from calpow.archiver.errors import FittingError
from calpow.archiver.progress import track
from calpow.handler.policy.policies import LARGEST_SCORE, Bounds, Conditional, Paper, Standard

# The floor leaves room for a legitimate user to pay this many floors and stay within the budget.
ROOM = 1.25
# Beyond two deviations a multiple of 100 for each further 1.5, up to the paper's longest puzzle (2,948 s for 1 s).
THRESHOLD = 2.0
GROWTH = math.log(100.0) / 1.5
CAP = 2948.0
# Queries that score below this quantile of their class count as if they scored it: see class_floors. Decision 0016.
CREDIT_QUANTILE = 0.75
# A class's deviation is at least this share of that of all classes: where legitimate costs hardly vary, a query is not
# odd because it costs a little more. Decision 0016.
LEAST_DEVIATION = 0.5
# The paper's `a`; smaller where the data do not determine a standard user's cost well enough for it.
PAPER_BASE = 1.0075
FEWEST_PER_CLASS = 10
# A class that was answered less often is treated as the mean class: a thief could steer queries there.
FEWEST_ANSWERS = 5
# The number of queries after which policies are compared.
LONG = 1_000
# Factors by which the deviation is widened, each with the least spread that it needs. Decision 0017.
WIDER_DEVIATIONS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0)


@dataclass(frozen=True)
class FittedConditional:
    """The policy, the payments of its simulated users, and the policy as cross-fitted, before it was widened.

    `users` are the summed excesses of these users.
    """

    policy: Conditional
    payments: Payments
    cross_fitted: Conditional
    users: Users


@dataclass(frozen=True)
class FittedPaper:
    """The policy, the payments of simulated standard users, and their summed costs' distances from the baseline."""

    policy: Paper
    payments: Payments
    users: Users


@dataclass(frozen=True)
class FittedBounds:
    """The policy, the payments of its simulated users, and their summed costs."""

    policy: Bounds
    payments: Payments
    users: Users


@dataclass(frozen=True)
class FittedPolicies:
    """Every policy, fitted to the same samples."""

    conditional: FittedConditional
    paper: FittedPaper
    bounds: FittedBounds


def fit_scale(samples: Samples, ceilings: Floats) -> Conditional:
    """Return the policy with everything fitted but its spread and deviation.

    `ceilings` `[scores]` are the highest possible costs. A class that is hardly ever answered is treated as the mean
    class.
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
    labels = samples.labels.numpy()
    floors = _class_floors(scores, labels, highest)
    means = _by_class(np.maximum(scores, floors[labels]), labels, len(floors))
    # The most by which a query can exceed its class; above zero even for a class that always has the highest cost.
    burst = float(max((highest - means).max(), LEAST_DEVIATION))
    return replace(scale, class_floors=tuple(floors.tolist()), class_means=tuple(means.tolist()), burst=burst)


def excesses(policy: Conditional, samples: Samples) -> Floats:
    """Return the excess of each sample, `[n]`."""
    return excesses_of(policy, samples.costs, samples.labels)


def excesses_of(policy: Conditional, costs: Tensor, labels: Tensor) -> Floats:
    """Return the excess of queries with these costs `[n, scores]` and labels `[n]`: `[n]`.

    It is that of `Conditional.excess`, for many samples at once.
    """
    classes = labels.numpy()
    means = np.array([standard.means for standard in policy.standards]).T[classes]
    deviations = np.array([standard.deviations for standard in policy.standards]).T[classes]
    scores = np.minimum((costs.numpy() - means) / deviations, LARGEST_SCORE).mean(axis=1)
    excess: Floats = np.maximum(scores, np.array(policy.class_floors)[classes]) - np.array(policy.class_means)[classes]
    return excess


def fit_conditional(
    samples: Samples, ceilings: Floats, lengths: StreamLengths, rng: np.random.Generator, *, quiet: bool = False
) -> FittedConditional:
    """Fit the conditional policy; `ceilings` `[scores]` are the highest possible costs.

    Spread and deviation are cross-fitted, then widened until every profile of simulated users stays within the budget.
    Among the pairs that achieve this, the one is chosen that leaves thieves the least after LONG queries. Widening the
    spread alone would compensate for a few early queries of legitimate users by a term that grows for ever. Raises
    FittingError when a class has too few samples or the costs carry no information.
    """
    fewest = _fewest_per_class(samples, ceilings)
    users, squared = _conditional_users(samples, ceilings, lengths, rng, quiet)
    scale = fit_scale(samples, ceilings)
    # n groups of a class do not rule out one query in n of the highest cost.
    unseen = scale.burst / fewest
    spread = max(unseen, _root_mean_square([sums[:, -1] / lengths.horizon for sums in users.values()]))
    deviation = max(unseen, math.sqrt(squared))
    first = replace(scale, spread=spread, deviation=deviation)
    policy = min(
        (_roomy(replace(first, deviation=deviation * by), users, lengths) for by in WIDER_DEVIATIONS),
        key=lambda each: each.deviation**2 / LONG + each.spread**2,
    )
    found = payments(users, partial(conditional_multiples, policy, lengths.checkpoints), lengths)
    return FittedConditional(policy, found, first, users)


def fit_paper(samples: Samples, ceilings: Floats, lengths: StreamLengths, rng: np.random.Generator) -> FittedPaper:
    """Fit the paper's policy with its own `a`, or the largest, to 5 %, that keeps standard users within the budget.

    The baseline is the expected summed cost by the first score: queries times the mean. Raises FittingError.
    """
    _fewest_per_class(samples, ceilings)
    users = _standard_users(samples, lengths, rng)
    log_base = math.log(PAPER_BASE)
    while not _has_room(found := payments(users, partial(paper_multiples, log_base), lengths)):
        log_base *= 0.95
    return FittedPaper(Paper(float(samples.first_costs.mean()), 0.0, math.exp(log_base)), found, users)


def fit_bounds(samples: Samples, ceilings: Floats, lengths: StreamLengths, rng: np.random.Generator) -> FittedBounds:
    """Fit the band that holds 98 of 100 users of every kind, with the paper's `a` or a smaller one as for `fit_paper`.

    The slopes are those of the cheapest and the dearest users at the horizon; the intercepts widen the band for shorter
    streams. Raises FittingError.
    """
    _fewest_per_class(samples, ceilings)
    users = merge([simulate(drawn.first_costs, drawn, lengths, rng) for drawn, _ in resampled_pairs(samples, rng)])
    spans = np.stack([np.percentile(sums, (100 - PERCENTILE, PERCENTILE), axis=0) for sums in users.values()])
    lowest, highest = spans[:, 0].min(axis=0), spans[:, 1].max(axis=0)
    slopes = lowest[-1] / lengths.horizon, highest[-1] / lengths.horizon
    intercepts = (
        float((lowest - slopes[0] * lengths.checkpoints).min()),
        float((highest - slopes[1] * lengths.checkpoints).max()),
    )
    policy = Bounds(float(slopes[0]), intercepts[0], float(slopes[1]), intercepts[1], PAPER_BASE)
    while not _has_room(found := payments(users, partial(bounds_multiples, policy, lengths.checkpoints), lengths)):
        policy = replace(policy, base=policy.base**0.95)
    return FittedBounds(policy, found, users)


def conditional_multiples(policy: Conditional, queries: Ints, excess: Floats, cap: float = CAP) -> Floats:
    """Return the capped multiples of the floor for summed excesses `[users, checkpoints]` after so many queries."""
    n = queries.astype(np.float64)
    scale = np.sqrt(policy.burst**2 + policy.deviation**2 * n + policy.spread**2 * n**2)
    return _capped(policy.growth * np.maximum(0.0, excess / scale - policy.threshold), cap)


def paper_multiples(log_base: float, distances: Floats, cap: float = CAP) -> Floats:
    """Return the paper's f(x) as capped multiples, for distances from the baseline `[users, checkpoints]`."""
    return _capped(log_base * np.abs(distances), cap)


def bounds_multiples(policy: Bounds, queries: Ints, costs: Floats, cap: float = CAP) -> Floats:
    """Return the capped multiples of the floor for summed costs `[users, checkpoints]` after so many queries."""
    below = policy.lower_slope * queries + policy.lower_intercept - costs
    above = costs - policy.upper_slope * queries - policy.upper_intercept
    return _capped(math.log(policy.base) * np.maximum(np.maximum(below, above), 0.0), cap)


def _capped(log_multiples: Floats, cap: float) -> Floats:
    capped: Floats = np.exp(np.minimum(log_multiples, math.log(cap)))
    return capped


def _standards(samples: Samples) -> tuple[Floats, Floats]:
    """Return means and deviations by score and class, `[scores, classes]`."""
    classes = len(samples.class_names)
    columns, labels = samples.costs.numpy().T, samples.labels.numpy()
    means = np.stack([_by_class(column, labels, classes) for column in columns])
    around = columns - means[:, labels]
    variances = np.stack([_by_class(each**2, labels, classes) for each in around])
    pooled = np.sqrt((around**2).mean(axis=1, keepdims=True))
    # A score that never varies carries no information; any deviation will do.
    least = np.where(pooled > 0, LEAST_DEVIATION * pooled, 1.0)
    return means, np.maximum(np.sqrt(variances), least)


def _by_class(values: Floats, labels: Ints, classes: int) -> Floats:
    """Return means by class, `[classes]`; the mean of all for a class that is hardly ever answered."""
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=values, minlength=classes)
    means: Floats = np.where(counts >= FEWEST_ANSWERS, sums / np.maximum(counts, 1), values.mean())
    return means


def _class_floors(scores: Floats, labels: Ints, highest: Floats) -> Floats:
    """Return the score that lower ones count as, `[classes]`; of all samples for a class that is hardly ever answered.

    It is quantile CREDIT_QUANTILE of the scores, but at most halfway from the mean to the highest possible score, so
    that there is room above legitimate queries that are odd themselves.
    """
    floors = []
    for index, ceiling in enumerate(highest.tolist()):
        of_class = scores[labels == index]
        of_class = of_class if len(of_class) >= FEWEST_ANSWERS else scores
        floors.append(min(float(np.quantile(of_class, CREDIT_QUANTILE)), (float(of_class.mean()) + ceiling) / 2))
    return np.array(floors)


def _has_room(found: Payments) -> bool:
    return max(found.mean, found.percentile) <= ROOM


def _roomy(policy: Conditional, users: Users, lengths: StreamLengths) -> Conditional:
    """Return the policy with the least spread, to 1 % and no less than its own, that keeps users within the budget."""

    def widened(by: float) -> Conditional:
        return replace(policy, spread=policy.spread * by)

    def fits(by: float) -> bool:
        multiples = partial(conditional_multiples, widened(by), lengths.checkpoints)
        return _has_room(payments(users, multiples, lengths))

    low = high = 1.0
    while not fits(high):
        low, high = high, 2.0 * high
    while high > 1.01 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return widened(high)


def _conditional_users(
    samples: Samples, ceilings: Floats, lengths: StreamLengths, rng: np.random.Generator, quiet: bool
) -> tuple[Users, float]:
    """Return users with their summed excesses, and the mean square of a single excess."""
    parts, squares = [], []
    pairs = resampled_pairs(samples, rng)
    for fitted_on, drawn_from in pairs if quiet else track(pairs, "simulating", "pair", RESAMPLES):
        scale = fit_scale(fitted_on, ceilings)
        excess = excesses(scale, drawn_from)
        recorded = simulate_accounts(excesses(scale, samples), samples, lengths, rng) if samples.by_account else {}
        parts.append(simulate(excess, drawn_from, lengths, rng) | recorded)
        squares.append(float((excess**2).mean()))
    return merge(parts), float(np.mean(squares))


def _standard_users(samples: Samples, lengths: StreamLengths, rng: np.random.Generator) -> Users:
    """Return the paper's standard users with the distances of their summed costs from the baseline."""
    parts = []
    for fitted_on, drawn_from in track(resampled_pairs(samples, rng), "simulating standard users", "pair", RESAMPLES):
        distance = drawn_from.first_costs - fitted_on.first_costs.mean()
        parts.append(simulate_standard(distance, lengths, rng))
    return merge(parts)


def _root_mean_square(values: Sequence[Floats]) -> float:
    return math.sqrt(np.mean(np.concatenate(values) ** 2))


def _fewest_per_class(samples: Samples, ceilings: Floats) -> int:
    """Return the number of groups of the smallest class. Raises FittingError unless the samples can be fitted."""
    costs = samples.costs.numpy()
    if not np.isfinite(costs).all():
        raise FittingError("some samples have no finite cost: train the teachers again")
    if (costs >= ceilings).all():
        raise FittingError("every sample costs the most that a query can: the teachers never agree, train others")
    return check_enough(samples.groups_per_class(), samples.class_names)


def check_enough(counts: Sequence[int], class_names: Sequence[str]) -> int:
    """Return the smallest of the classes' numbers of independent samples. Raises FittingError when it is too small."""
    fewest = min(counts)
    if fewest < FEWEST_PER_CLASS:
        name = class_names[counts.index(fewest)]
        raise FittingError(
            f"class {name} has {fewest} independent samples to calibrate with: give at least {FEWEST_PER_CLASS}"
        )
    return fewest
