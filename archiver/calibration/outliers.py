"""Which of the accounts that were observed are no legitimate users: robust statistics, no model and no names.

Thieves among the users pull the very figures by which they are told from users. So the first look is at figures that
a minority cannot move: what a class costs is read from its cheaper accounts, each counting once, and the cheaper half
of all accounts is the core to begin with. From then on the policy's own excess is fitted on those who are in, and
whoever does not stand too far above them is in, until nothing changes any more. Users who were left out come in, for
they are not far; thieves cost more than users, so that users' spread is read from the cheaper half of those who are in.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calpow.archiver.calibration.fitting import LEAST_DEVIATION, excesses, fit_scale
from calpow.archiver.calibration.simulated_users import BISECTIONS, TINY, Floats, Ints, Samples
from calpow.handler.policy.policies import LARGEST_SCORE

# So many deviations above legitimate users' mean, an account is none of them: by chance, one normal one in 30,000 is.
FARTHEST = 4.0
# At first, a class costs what it costs this share of the accounts at most: thieves may be two of three in a class.
FIRST_QUANTILE = 0.3
# Accounts with a few queries of a class say little about it.
FEWEST_OF_CLASS = 5
ROUNDS = 30
# The median of the absolute value of a standard normal variable.
NORMAL_MAD = 0.6745

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class _Sums:
    """Summed excess of accounts after so many queries, `[accounts]` each."""

    excess: Floats
    queries: Floats

    @property
    def means(self) -> Floats:
        means: Floats = self.excess / self.queries
        return means


def vet(samples: Samples, ceilings: Floats) -> Bools:
    """Whether each account is taken for a legitimate user, in the order of their numbers in `samples.groups`.

    `ceilings` `[metrics]` is the most that a query can cost.
    """
    _, owners = np.unique(samples.groups, return_inverse=True)
    first = _sums(_first_scores(samples, owners), owners).means
    kept: Bools = first <= np.median(first)
    for _ in range(ROUNDS):
        scale = fit_scale(samples.take(np.flatnonzero(kept[owners])), ceilings)
        found = excesses(scale, samples)
        before, kept = kept, _within(_sums(found, owners), kept, float(found[kept[owners]].std()), scale.burst)
        if (before == kept).all():
            break
    return kept


def _sums(scores: Floats, owners: Ints) -> _Sums:
    sums: Floats = np.bincount(owners, weights=scores).astype(np.float64)
    return _Sums(sums, np.bincount(owners).astype(np.float64))


def _within(sums: _Sums, kept: Bools, deviation: float, burst: float) -> Bools:
    """Which accounts lie within FARTHEST deviations of the centre of those `kept` so far, or below it.

    As in the policy, a deviation has three parts: what one query can do, what chance does, and users' own spread.
    """
    noise = burst**2 / sums.queries**2 + deviation**2 / sums.queries
    centre = float(np.median(sums.means[kept]))
    below = kept & (sums.means < centre)
    spread = _spread_below(centre - sums.means[below], noise[below])
    within: Bools = sums.means - centre <= FARTHEST * np.sqrt(noise + spread**2)
    return within


def _spread_below(distances: Floats, noise: Floats) -> float:
    """The spread with which the accounts below the centre are as far from it as normal ones would be."""
    if not len(distances):
        return 0.0
    low, high = 0.0, float(distances.max()) / NORMAL_MAD + TINY
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        typical = float(np.median(distances / np.sqrt(noise + middle**2)))
        low, high = (middle, high) if typical > NORMAL_MAD else (low, middle)
    return low


def _first_scores(samples: Samples, owners: Ints) -> Floats:
    """Mean over metrics of each cost above its class, `[n]`, by figures that a minority of accounts cannot move."""
    classes, accounts = len(samples.class_names), int(owners.max()) + 1
    cells = owners * classes + samples.labels
    counts = np.bincount(cells, minlength=accounts * classes).reshape(accounts, classes)
    scores = np.zeros(len(samples.costs))
    for costs in samples.costs.T:
        means = _by_cell(costs, cells, counts)
        squares = _by_cell((costs - means[owners, samples.labels]) ** 2, cells, counts)
        centres = _quantiles(means, counts)
        deviations = np.sqrt(_quantiles(squares, counts))
        deviations = np.maximum(deviations, LEAST_DEVIATION * deviations.mean() + TINY)
        standard = (costs - centres[samples.labels]) / deviations[samples.labels]
        scores += np.minimum(standard, LARGEST_SCORE) / samples.costs.shape[1]
    return scores


def _by_cell(values: Floats, cells: Ints, counts: Ints) -> Floats:
    """Means by account and class, `[accounts, classes]`."""
    sums = np.bincount(cells, weights=values, minlength=counts.size).reshape(counts.shape)
    means: Floats = sums / np.maximum(counts, 1)
    return means


def _quantiles(values: Floats, counts: Ints) -> Floats:
    """Quantile FIRST_QUANTILE of each class over accounts, `[classes]`; over all classes for one that nobody knows."""
    found = []
    for column, known in zip(values.T, counts.T, strict=True):
        enough = known >= min(FEWEST_OF_CLASS, max(1, int(known.max())))
        found.append(float(np.quantile(column[enough], FIRST_QUANTILE)) if known.any() else np.nan)
    made = np.array(found)
    return np.where(np.isnan(made), np.nanmean(made), made)
