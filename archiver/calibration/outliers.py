"""Detection of accounts that do not look like legitimate users, by robust statistics of what their queries cost.

Thieves among the accounts distort the statistics that would tell them from users. The first estimate therefore uses
statistics that a minority cannot distort: the cost of a class is that of its cheaper accounts, each counting once, and
the cheaper half of all accounts is kept. From then on the policy's own excess is fitted to the accounts that are kept,
and all accounts that are not too far above these are kept next, until the set no longer changes. Thieves cost more than
users, so that the users' spread is estimated from the cheaper half of the accounts that are kept.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from calpow.archiver.calibration.fitting import LEAST_DEVIATION, excesses, fit_scale
from calpow.archiver.calibration.samples import Floats, Ints, Samples
from calpow.archiver.calibration.simulated_users import BISECTIONS, TINY
from calpow.handler.policy.policies import LARGEST_SCORE

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


def vet(samples: Samples, ceilings: Floats) -> Bools:
    """Return which accounts pass for legitimate users, in the order of the numbers in `samples.groups`.

    `ceilings` `[scores]` are the highest possible costs.
    """
    _, owners = np.unique(samples.groups.numpy(), return_inverse=True)
    first = _sums(_first_scores(samples, owners), owners).means
    kept: Bools = first <= np.median(first)
    for _ in range(ROUNDS):
        scale = fit_scale(samples.take(np.flatnonzero(kept[owners])), ceilings)
        excess = excesses(scale, samples)
        before, kept = kept, _within(_sums(excess, owners), kept, float(excess[kept[owners]].std()), scale.burst)
        if (before == kept).all():
            break
    return kept


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
