"""The joint oddness of a sample: Fisher's combination of how rarely legitimate samples exceed each of its scores.

One score rarely sees every stranger. A sample that is a little odd by many scores, or very odd by a single one, has a
large sum of -log p over the scores, where p is the share of legitimate samples with the same answer that exceed the
score (Fisher 1932, "Statistical methods for research workers", section 21.1). The sum is a score like any other, with
thresholds of its own: dependence between the scores does not make them invalid.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

# What the joint oddness is called where scores are listed.
JOINT = "joint"
# The shares of legitimate samples with the same answer that exceed a scale's quantiles, and -log of them.
SHARES = (0.7, 0.5, 0.3, 0.1, 0.03)
ODDNESS = tuple(-math.log(share) for share in SHARES)
# Beyond the last quantile, oddness grows with the distance as it does between the last two.
TAIL = ODDNESS[-1] - ODDNESS[-2]
# Of a single score: few calibrations show rarer values.
MOST_ODDNESS = 8.0
# The width of a tail is at least this part of the distance between the last quantile and the median.
LEAST_TAIL = 0.1
# The place of the median among the shares.
MEDIAN = SHARES.index(0.5)


@dataclass(frozen=True)
class OddnessScale:
    """Scale on which a score of different classes can be compared: how rarely a legitimate sample exceeds it.

    score: position of the score among those of the policy.
    quantiles: for each class of the answer, ascending numbers, which SHARES of legitimate samples exceed.
    """

    score: int
    quantiles: tuple[tuple[float, ...], ...]

    def oddness(self, value: float, label: int) -> float:
        """Return the oddness of a score whose sample was answered with class `label`: -log p, at most MOST_ODDNESS."""
        quantiles = self.quantiles[label]
        above = bisect_left(quantiles, value)
        if above == 0:
            return ODDNESS[0]
        if above < len(quantiles):
            low, high = quantiles[above - 1], quantiles[above]
            share = (value - low) / (high - low)
            return ODDNESS[above - 1] + share * (ODDNESS[above] - ODDNESS[above - 1])
        last = quantiles[-1]
        width = max(last - quantiles[-2], LEAST_TAIL * (last - quantiles[MEDIAN]))
        if width <= 0:
            return MOST_ODDNESS
        return min(MOST_ODDNESS, ODDNESS[-1] + (value - last) / width * TAIL)
