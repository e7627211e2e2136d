"""Simulated users, drawn from held-out samples, and what a policy makes them pay.

A sample of n costs tells the mean of its source only to within its own scatter, and a legitimate user brings a source
of his own. The bootstrap has both: what is expected is fitted on one resample while users draw their queries from
another, drawn independently of it. Samples of one group (an original and its copies, say) are resampled together,
so that a copy never vouches for its original.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# Summed values of simulated users after a course's checkpoints, `[users, checkpoints]`, by profile.
Users = Mapping[str, Floats]

PERCENTILE = 99.0
RESAMPLES = 400
USERS_PER_RESAMPLE = 2
# Dirichlet concentration of the mixtures: most of a user's queries are of two or three classes.
CONCENTRATION = 0.3
# Queries are drawn one by one up to here; further ones are summed by their mean and variance.
DRAWN_SINGLY = 100
SHORTEST_HORIZON = 10
TINY = 1e-12
BISECTIONS = 40
UNIFORM, MIXTURE, RECORDED = "uniform", "mixture", "accounts as recorded"


@dataclass(frozen=True)
class Course:
    """How many queries simulated users send: up to `horizon`, looked at on the way."""

    horizon: int

    @cached_property
    def horizons(self) -> tuple[int, ...]:
        """Lengths at which users must have room: the powers of ten up to the horizon, and the horizon."""
        powers = (10**power for power in range(1, 10))
        return (*(length for length in powers if length < self.horizon), self.horizon)

    @cached_property
    def checkpoints(self) -> Ints:
        """Numbers of queries at which sums are kept, from 1 to the horizon, the horizons among them."""
        spaced = np.geomspace(1, self.horizon, 49).round()
        return np.unique(np.concatenate([spaced, self.horizons])).astype(np.int64)

    @cached_property
    def steps(self) -> Ints:
        """Queries from one checkpoint to the next."""
        steps: Ints = np.diff(self.checkpoints, prepend=0)
        return steps


@dataclass(frozen=True)
class Samples:
    """Held-out legitimate samples: `costs` is `[n, metrics]`, the others `[n]`.

    `labels` is the class of the victim's answer, `classes` the true class; samples of one of `groups` belong together.
    With `by_account` a group is what one account sent, in the mixture in which it did.
    """

    costs: Floats
    labels: Ints
    classes: Ints
    groups: Ints
    class_names: tuple[str, ...]
    by_account: bool = False

    def take(self, index: Ints) -> "Samples":
        """The samples at these positions, repeats and all."""
        return replace(
            self,
            costs=self.costs[index],
            labels=self.labels[index],
            classes=self.classes[index],
            groups=self.groups[index],
        )

    def groups_per_class(self) -> Ints:
        """How many groups each class has, `[classes]`."""
        return np.array([len(np.unique(self.groups[self.classes == index])) for index in range(len(self.class_names))])


@dataclass(frozen=True)
class Outcome:
    """What the dearest profile of simulated users pays, in multiples of the floor, mean over a user's queries.

    `mean` and `percentile` (the 99th) are over users; `profile` and `queries` say whose percentile it is.
    """

    mean: float
    percentile: float
    profile: str
    queries: int


def resampled_pairs(samples: Samples, rng: np.random.Generator) -> Iterator[tuple[Samples, Samples]]:
    """Pairs of independent resamples, each with as many groups of each class as there are."""
    order = np.lexsort((samples.groups, samples.classes))
    classes, groups = samples.classes[order], samples.groups[order]
    starts = np.flatnonzero(np.diff(classes, prepend=-1) | np.diff(groups, prepend=-1))
    sizes = np.diff(starts, append=len(order))
    of_class = np.bincount(classes[starts], minlength=len(samples.class_names))
    first_of_class = np.cumsum(of_class) - of_class

    def resample() -> Samples:
        picks = np.repeat(first_of_class, of_class) + rng.integers(np.repeat(of_class, of_class))
        ends = np.cumsum(sizes[picks])
        within = np.arange(ends[-1]) - np.repeat(ends - sizes[picks], sizes[picks])
        return samples.take(order[np.repeat(starts[picks], sizes[picks]) + within])

    for _ in range(RESAMPLES):
        yield resample(), resample()


def simulate(values: Floats, samples: Samples, course: Course, rng: np.random.Generator) -> dict[str, Floats]:
    """A few users of every profile, who send these samples: the sums of their `values`, one a sample."""
    return {profile: streams(values, weights, course, rng) for profile, weights in _profiles(samples, rng)}


def simulate_standard(values: Floats, course: Course, rng: np.random.Generator) -> dict[str, Floats]:
    """A few of the paper's standard users, who send samples of all classes in random order."""
    return {UNIFORM: streams(values, _uniform(len(values)), course, rng)}


def simulate_accounts(values: Floats, samples: Samples, course: Course, rng: np.random.Generator) -> dict[str, Floats]:
    """A few users who each send what one recorded account did: the sums of their `values`, one a sample.

    None where no accounts were recorded. The mean of a short account is mostly chance, and a long stream of it would
    magnify that: means are drawn together so far that they scatter as the accounts' true ones do (constrained
    empirical Bayes, Louis 1984).
    """
    if not samples.by_account:
        return {}
    owners, means, errors = account_means(values, samples.groups)
    spread = between_spread(means, errors)
    centre = np.average(means, weights=1 / (errors + spread**2))
    drawn = centre + np.sqrt(spread**2 / (errors + spread**2)) * (means - centre)
    picks = rng.integers(len(means), size=USERS_PER_RESAMPLE)
    rows = [values[owners == pick] - means[pick] + drawn[pick] for pick in picks]
    return {RECORDED: np.concatenate([streams(row, [np.ones(len(row))], course, rng) for row in rows])}


def account_means(values: Floats, groups: Ints) -> tuple[Ints, Floats, Floats]:
    """The account of each value as a number from 0, each account's mean, and the variance of that mean.

    The variance of single values is taken for the same in all accounts, and for more than nothing.
    """
    names, owners = np.unique(groups, return_inverse=True)
    counts = np.bincount(owners)
    means = np.bincount(owners, weights=values) / counts
    within = float(((values - means[owners]) ** 2).sum()) / max(1, len(values) - len(names))
    return owners, means, max(within, TINY) / counts


def between_spread(means: Floats, errors: Floats) -> float:
    """The deviation of true means, of which `means` were measured with these variances (Paule and Mandel 1982)."""

    def surplus(spread: float) -> float:
        weights = 1 / (errors + spread**2)
        centre = np.average(means, weights=weights)
        return float((weights * (means - centre) ** 2).sum()) - (len(means) - 1)

    low, high = 0.0, float(np.ptp(means)) + TINY
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    return low


def merge(parts: Sequence[Users]) -> Users:
    """All users of each profile."""
    return {profile: np.concatenate([part[profile] for part in parts]) for profile in parts[0]}


def outcome(users: Users, multiples: Callable[[Floats], Floats], course: Course) -> Outcome:
    """What users pay over streams of every horizon of the course, where `multiples` is what sums pay a query."""
    horizons = course.horizons
    worst_mean, worst = 0.0, (0.0, "", 0)
    for profile, sums in users.items():
        paid = stream_means(multiples(sums), course, horizons)
        worst_mean = max(worst_mean, float(paid.mean(axis=0).max()))
        percentiles = np.percentile(paid, PERCENTILE, axis=0)
        worst = max(worst, *((float(p), profile, h) for p, h in zip(percentiles, horizons, strict=True)))
    return Outcome(worst_mean, *worst)


def stream_sums(paid: Floats, course: Course) -> Floats:
    """What is paid a query at the checkpoints, `[users, checkpoints]`, summed over all queries up to each."""
    sums: Floats = np.cumsum(paid * course.steps, axis=1)
    return sums


def stream_means(paid: Floats, course: Course, horizons: Sequence[int]) -> Floats:
    """Mean of what is paid a query at the checkpoints over the first queries: `[users, horizons]`.

    `horizons` are among the checkpoints.
    """
    whole = stream_sums(paid, course)[:, np.searchsorted(course.checkpoints, horizons)]
    means: Floats = whole / np.asarray(horizons)
    return means


def streams(values: Floats, weights: Sequence[Floats], course: Course, rng: np.random.Generator) -> Floats:
    """Sums of values drawn with these weights, one row a user, at the course's checkpoints."""
    checkpoints = course.checkpoints
    far = checkpoints > DRAWN_SINGLY
    steps = np.diff(checkpoints[far], prepend=DRAWN_SINGLY)
    rows = []
    for weight in weights:
        chosen = np.flatnonzero(weight)
        pool, chance = values[chosen], weight[chosen] / weight[chosen].sum()
        single = np.cumsum(rng.choice(pool, DRAWN_SINGLY, p=chance))
        mean = float(pool @ chance)
        variance = float((pool - mean) ** 2 @ chance)
        later = np.cumsum(steps * mean + np.sqrt(steps * variance) * rng.standard_normal(len(steps)))
        rows.append(np.concatenate([single[checkpoints[~far] - 1], single[-1] + later]))
    return np.stack(rows)


def _profiles(samples: Samples, rng: np.random.Generator) -> Iterator[tuple[str, list[Floats]]]:
    """Each profile's name and, for each of its users, how often he sends each sample, up to a factor."""
    per_class = np.bincount(samples.classes, minlength=len(samples.class_names))
    yield UNIFORM, _uniform(len(samples.costs))
    mixtures = rng.dirichlet(np.full(len(per_class), CONCENTRATION), USERS_PER_RESAMPLE)
    yield MIXTURE, [(mixture / per_class)[samples.classes] for mixture in mixtures]
    for index, name in enumerate(samples.class_names):
        yield f"class {name}", [(samples.classes == index).astype(np.float64)] * USERS_PER_RESAMPLE


def _uniform(samples: int) -> list[Floats]:
    return [np.ones(samples)] * USERS_PER_RESAMPLE
