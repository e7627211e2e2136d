"""PRADA (Juuti et al. 2019): a detector of model extraction, by the distances between an account's queries.

Legitimate queries keep distances from earlier ones of their class that are distributed normally; those of an attack
that makes queries of earlier ones do not. PRADA answers all until it raises, and knows no costs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import shapiro
from torch import Tensor

from calpow.archiver.calibration.samples import Floats

# The authors' settings: distances before the first test, and deviations beyond which a distance is left out of it.
FEWEST = 100
OUTLIER = 3.0
# They take the largest threshold that raises at no legitimate user, 0.95 or 0.96 for MNIST.
THRESHOLD = 0.95


# Shapiro and Wilk's test is known to be right up to so many numbers; what comes later is not looked at.
MOST = 5_000


class Prada:
    """The detector, watching one account.

    raised: the number of queries after which it raised; None if it has not.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.raised: int | None = None
        self._threshold = threshold
        self._classes: dict[int, _Class] = {}
        self._distances: list[float] = []
        self._queries = 0

    def watch(self, queries: Tensor, answers: Sequence[int]) -> None:
        """Look at queries [n, ...] that were answered with classes [n], one after another.

        It raises where the statistic of Shapiro and Wilk's test of normality of all distances is below the threshold.
        """
        for query, answer in zip(queries.flatten(1), answers, strict=True):
            if self.raised is not None or self._queries == MOST:
                return
            self._queries += 1
            distance = self._classes.setdefault(answer, _Class(len(query))).distance(query)
            if distance is not None:
                self._distances.append(distance)
            if len(self._distances) > FEWEST and _normality(np.array(self._distances)) < self._threshold:
                self.raised = self._queries


class _Class:
    """The growing set of one class, the distances with which its members came, and the least for a new member."""

    def __init__(self, numbers: int) -> None:
        self._members = torch.empty(64, numbers)
        self._count = 0
        self._distances: list[float] = []
        self._threshold = 0.0

    def distance(self, query: Tensor) -> float | None:
        """Return the distance of a query from the nearest member, None for the first; grow where it is far."""
        if not self._count:
            self._add(query)
            return None
        nearest = float((self._members[: self._count] - query).norm(dim=1).min())
        if nearest > self._threshold:
            self._add(query)
            self._distances.append(nearest)
            known: Floats = np.array(self._distances)
            self._threshold = max(self._threshold, float(known.mean() - known.std()))
        return nearest

    def _add(self, query: Tensor) -> None:
        if self._count == len(self._members):
            self._members = torch.cat([self._members, torch.empty_like(self._members)])
        self._members[self._count] = query
        self._count += 1


def _normality(distances: Floats) -> float:
    deviation = distances.std()
    kept = distances[np.abs(distances - distances.mean()) <= OUTLIER * deviation]
    # Equal distances, of one query again and again, have no distribution.
    return float(shapiro(kept).statistic) if len(kept) > FEWEST // 2 and np.ptp(kept) > 0 else 0.0
