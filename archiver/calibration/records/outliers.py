"""Detection of accounts that do not look like legitimate users, by robust statistics of what their queries cost.

Thieves among the accounts distort the statistics that would tell them from users. The first estimate therefore uses
statistics that a minority cannot distort: the cost of a class is that of its cheaper accounts, each counting once, and
the cheaper half of all accounts is kept. From then on the policy's own excess is fitted to the accounts that are kept,
and all accounts that are not too far above these are kept next, until the set no longer changes. Thieves cost more than
users, so that the users' spread is estimated from the cheaper half of the accounts that are kept.
"""

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from calpow.archiver.calibration.samples import Floats, Ints, Samples
from calpow.handler.leakage.score import ODDEST

# Scores count for so many deviations of their class at most: a few extreme ones must not decide over an account.
LARGEST_SCORE = 3.0
# A class's deviation is at least this share of that of all classes.
LEAST_DEVIATION = 0.5
# A class that was answered less often is treated as the mean class.
FEWEST_ANSWERS = 5
BISECTIONS = 40
TINY = 1e-12
# An account further above the legitimate mean, in deviations, is left out; by chance, one normal user in 30,000 is.
FARTHEST = 4.0
# The first estimate of a class's cost is this quantile over accounts: two of three accounts in a class may be thieves'.
FIRST_QUANTILE = 0.3
# Accounts with fewer queries of a class do not count for its first estimate.
FEWEST_OF_CLASS = 5
ROUNDS = 30
# The median of the absolute value of a standard normal variable.
NORMAL_MAD = NormalDist().inv_cdf(0.75)

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class _Sums:
    """Summed excess and number of queries of each account, `[accounts]`."""

    excess: Floats
    queries: Floats

    @property
    def means(self) -> Floats:
        means: Floats = self.excess / self.queries
        return means


def vet(samples: Samples) -> Bools:
    """Return which accounts pass for legitimate users, in the order of the numbers in `samples.groups`."""
    samples = _without_extremes(samples)
    _, owners = np.unique(samples.groups.numpy(), return_inverse=True)
    first = _sums(_first_scores(samples, owners), owners).means
    kept: Bools = first <= np.median(first)
    for _ in range(ROUNDS):
        excess = _excesses(samples, kept[owners])
        before, kept = kept, _within(_sums(excess, owners), kept, float(excess[kept[owners]].std()), LARGEST_SCORE)
        if (before == kept).all():
            break
    return kept


def _without_extremes(samples: Samples) -> Samples:
    """Return the samples with scores of ODDEST, which stand for no number, replaced by the largest other score."""
    costs = samples.costs.numpy()
    ordinary = np.where(costs < ODDEST, costs, -np.inf).max(axis=0)
    return replace(samples, costs=torch.from_numpy(np.minimum(costs, ordinary)))


def _sums(scores: Floats, owners: Ints) -> _Sums:
    sums: Floats = np.bincount(owners, weights=scores).astype(np.float64)
    return _Sums(sums, np.bincount(owners).astype(np.float64))


def _within(sums: _Sums, kept: Bools, deviation: float, burst: float) -> Bools:
    """Return which accounts are less than FARTHEST deviations above the median of those `kept` so far.

    As in the policy, a deviation combines the effect of a single query, chance, and the spread between users.
    """
    noise = burst**2 / sums.queries**2 + deviation**2 / sums.queries
    centre = float(np.median(sums.means[kept]))
    below = kept & (sums.means < centre)
    spread = _spread_below(centre - sums.means[below], noise[below])
    within: Bools = sums.means - centre <= FARTHEST * np.sqrt(noise + spread**2)
    return within


def _spread_below(distances: Floats, noise: Floats) -> float:
    """Return the spread that puts the accounts below the centre at the distances of a normal distribution."""
    if not len(distances):
        return 0.0
    low, high = 0.0, float(distances.max()) / NORMAL_MAD + TINY
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        typical = float(np.median(distances / np.sqrt(noise + middle**2)))
        low, high = (middle, high) if typical > NORMAL_MAD else (low, middle)
    return low


def _excesses(samples: Samples, kept: Bools) -> Floats:
    """Return how far each sample's scores exceed those of kept ones of its class, in their deviations, `[n]`."""
    labels, classes = samples.labels.numpy(), len(samples.class_names)
    excess = np.zeros(len(labels))
    for column in samples.costs.numpy().T:
        means = _by_class(column[kept], labels[kept], classes)
        around = column - means[labels]
        pooled = float(np.sqrt((around[kept] ** 2).mean()))
        deviations = np.sqrt(_by_class(around[kept] ** 2, labels[kept], classes))
        # A score that never varies carries no information; any deviation will do.
        deviations = np.maximum(deviations, LEAST_DEVIATION * pooled if pooled > 0 else 1.0)
        excess += np.minimum(around / deviations[labels], LARGEST_SCORE) / samples.costs.shape[1]
    return excess


def _by_class(values: Floats, labels: Ints, classes: int) -> Floats:
    """Return means by class, `[classes]`; the mean of all for a class that is hardly ever answered."""
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=values, minlength=classes)
    means: Floats = np.where(counts >= FEWEST_ANSWERS, sums / np.maximum(counts, 1), values.mean())
    return means


def _first_scores(samples: Samples, owners: Ints) -> Floats:
    """Return the mean standardised cost of each sample over all scores, `[n]`, by statistics robust to a minority."""
    classes, accounts = len(samples.class_names), int(owners.max()) + 1
    labels = samples.labels.numpy()
    cells = owners * classes + labels
    counts = np.bincount(cells, minlength=accounts * classes).reshape(accounts, classes)
    scores = np.zeros(len(samples.costs))
    for costs in samples.costs.numpy().T:
        means = _by_cell(costs, cells, counts)
        squares = _by_cell((costs - means[owners, labels]) ** 2, cells, counts)
        centres = _quantiles(means, counts)
        deviations = np.sqrt(_quantiles(squares, counts))
        deviations = np.maximum(deviations, LEAST_DEVIATION * deviations.mean() + TINY)
        standard = (costs - centres[labels]) / deviations[labels]
        scores += np.minimum(standard, LARGEST_SCORE) / samples.costs.shape[1]
    return scores


def _by_cell(values: Floats, cells: Ints, counts: Ints) -> Floats:
    """Return means by account and class, `[accounts, classes]`."""
    sums = np.bincount(cells, weights=values, minlength=counts.size).reshape(counts.shape)
    means: Floats = sums / np.maximum(counts, 1)
    return means


def _quantiles(values: Floats, counts: Ints) -> Floats:
    """Return FIRST_QUANTILE of each class over accounts, `[classes]`; the mean of the others for a class with none."""
    quantiles = []
    for column, known in zip(values.T, counts.T, strict=True):
        enough = known >= min(FEWEST_OF_CLASS, max(1, int(known.max())))
        quantiles.append(float(np.quantile(column[enough], FIRST_QUANTILE)) if known.any() else np.nan)
    by_class = np.array(quantiles)
    return np.where(np.isnan(by_class), np.nanmean(by_class), by_class)
