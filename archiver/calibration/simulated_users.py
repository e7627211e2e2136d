"""Simulated users, drawn from held-out samples, and the work that a policy asks of them.

n samples determine the mean cost of their source only up to their own scatter, and every legitimate user is a source of
his own. A bootstrap accounts for both: expectations are fitted to one resample, while users draw their queries from
another, independent one. Samples of one group (an original and its copies, for example) are resampled together, so that
a copy never vouches for its original.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calpow.archiver.calibration.samples import Floats, Ints, Samples

# Summed values of simulated users at the checkpoints, `[users, checkpoints]`, by profile.
Users = Mapping[str, Floats]

PERCENTILE = 99.0
RESAMPLES = 400
USERS_PER_RESAMPLE = 2
# Dirichlet concentration of the mixtures; most of a user's queries are then of two or three classes.
CONCENTRATION = 0.3
# Queries that are drawn one by one; the sum of further ones is drawn by its mean and variance.
DRAWN_SINGLY = 100
SHORTEST_HORIZON = 10
TINY = 1e-12
BISECTIONS = 40
UNIFORM, MIXTURE, RECORDED = "uniform", "mixture", "accounts as recorded"


@dataclass(frozen=True)
class StreamLengths:
    """The numbers of queries, up to `horizon`, after which simulated users are examined."""

    horizon: int

    @cached_property
    def horizons(self) -> tuple[int, ...]:
        """Lengths at which users must stay within the budget: the powers of ten below the horizon, and the horizon."""
        powers = (10**power for power in range(1, 10))
        return (*(length for length in powers if length < self.horizon), self.horizon)

    @cached_property
    def checkpoints(self) -> Ints:
        """Lengths at which sums are kept, from 1 to the horizon; they include `horizons`."""
        spaced = np.geomspace(1, self.horizon, 49).round()
        return np.unique(np.concatenate([spaced, self.horizons])).astype(np.int64)

    @cached_property
    def steps(self) -> Ints:
        """Numbers of queries from each checkpoint to the next."""
        steps: Ints = np.diff(self.checkpoints, prepend=0)
        return steps


@dataclass(frozen=True)
class Payments:
    """The work of the profile that pays most, in multiples of the floor, mean over a user's queries.

    `mean` and `percentile` (the 99th) are over users; `profile` and `queries` name the users of the percentile.
    """

    mean: float
    percentile: float
    profile: str
    queries: int


def resampled_pairs(samples: Samples, rng: np.random.Generator) -> Iterator[tuple[Samples, Samples]]:
    """Yield pairs of independent resamples, each with as many groups of each class as there are."""
    order = np.lexsort((samples.groups.numpy(), samples.classes.numpy()))
    classes, groups = samples.classes.numpy()[order], samples.groups.numpy()[order]
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


def simulate(values: Floats, samples: Samples, lengths: StreamLengths, rng: np.random.Generator) -> dict[str, Floats]:
    """Draw a few users of every profile from these samples; return the sums of their `values`, one per sample."""
    return {profile: streams(values, weights, lengths, rng) for profile, weights in _profiles(samples, rng)}


def simulate_standard(values: Floats, lengths: StreamLengths, rng: np.random.Generator) -> dict[str, Floats]:
    """Draw a few of the paper's standard users, who send samples of all classes in random order."""
    return {UNIFORM: streams(values, _uniform(len(values)), lengths, rng)}


def simulate_accounts(
    values: Floats, samples: Samples, lengths: StreamLengths, rng: np.random.Generator
) -> dict[str, Floats]:
    """Draw a few users, of whom each sends the samples of one recorded account; return the sums of their `values`.

    Without recorded accounts, the result is empty. The mean of a short account is mostly chance, which a long stream
    would magnify: means are shrunk until they scatter as the accounts' true means do (constrained empirical Bayes,
    Louis 1984).
    """
    if not samples.by_account:
        return {}
    owners, means, errors = account_means(values, samples.groups.numpy())
    spread = between_spread(means, errors)
    centre = np.average(means, weights=1 / (errors + spread**2))
    drawn = centre + np.sqrt(spread**2 / (errors + spread**2)) * (means - centre)
    picks = rng.integers(len(means), size=USERS_PER_RESAMPLE)
    rows = [values[owners == pick] - means[pick] + drawn[pick] for pick in picks]
    return {RECORDED: np.concatenate([streams(row, [np.ones(len(row))], lengths, rng) for row in rows])}


def account_means(values: Floats, groups: Ints) -> tuple[Ints, Floats, Floats]:
    """Return the account of each value, numbered from 0, each account's mean, and the variance of that mean.

    Single values are taken to have the same variance in all accounts, and more than none.
    """
    names, owners = np.unique(groups, return_inverse=True)
    counts = np.bincount(owners)
    means = np.bincount(owners, weights=values) / counts
    within = float(((values - means[owners]) ** 2).sum()) / max(1, len(values) - len(names))
    return owners, means, max(within, TINY) / counts


def between_spread(means: Floats, errors: Floats) -> float:
    """Return the deviation of true means that were measured as `means` with these variances (Paule and Mandel 1982)."""

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
    """Concatenate the users of each profile."""
    return {profile: np.concatenate([part[profile] for part in parts]) for profile in parts[0]}


def payments(users: Users, multiples: Callable[[Floats], Floats], lengths: StreamLengths) -> Payments:
    """Return what the dearest users pay over any of the horizons; `multiples` maps summed values to work per query."""
    horizons = lengths.horizons
    worst_mean, worst = 0.0, (0.0, "", 0)
    for profile, sums in users.items():
        paid = stream_means(multiples(sums), lengths, horizons)
        worst_mean = max(worst_mean, float(paid.mean(axis=0).max()))
        percentiles = np.percentile(paid, PERCENTILE, axis=0)
        worst = max(worst, *((float(p), profile, h) for p, h in zip(percentiles, horizons, strict=True)))
    return Payments(worst_mean, *worst)


def stream_sums(paid: Floats, lengths: StreamLengths) -> Floats:
    """Sum what a query pays at the checkpoints, `[users, checkpoints]`, over all queries up to each of them."""
    sums: Floats = np.cumsum(paid * lengths.steps, axis=1)
    return sums


def stream_means(paid: Floats, lengths: StreamLengths, horizons: Sequence[int]) -> Floats:
    """Average what a query pays at the checkpoints over the first queries: `[users, horizons]`.

    All of `horizons` are checkpoints.
    """
    whole = stream_sums(paid, lengths)[:, np.searchsorted(lengths.checkpoints, horizons)]
    means: Floats = whole / np.asarray(horizons)
    return means


def streams(values: Floats, weights: Sequence[Floats], lengths: StreamLengths, rng: np.random.Generator) -> Floats:
    """Return the sums at the checkpoints, `[users, checkpoints]`, of values drawn with each user's weights."""
    checkpoints = lengths.checkpoints
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
    """Yield each profile's name and, for each of its users, the relative frequency of each sample."""
    classes = samples.classes.numpy()
    per_class = np.bincount(classes, minlength=len(samples.class_names))
    yield UNIFORM, _uniform(len(samples.costs))
    mixtures = rng.dirichlet(np.full(len(per_class), CONCENTRATION), USERS_PER_RESAMPLE)
    yield MIXTURE, [(mixture / per_class)[classes] for mixture in mixtures]
    for index, name in enumerate(samples.class_names):
        yield f"class {name}", [(classes == index).astype(np.float64)] * USERS_PER_RESAMPLE


def _uniform(samples: int) -> list[Floats]:
    return [np.ones(samples)] * USERS_PER_RESAMPLE
