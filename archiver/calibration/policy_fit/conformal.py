"""Conformal thresholds: how large a score of legitimate samples rarely is, by class of the answer.

A threshold of a share a is a number that at most a share a of legitimate samples with that answer exceeds. It is valid
for the samples at hand with a confidence (training-conditional validity, Vovk 2012, "Conditional validity of
inductive conformal predictors"): of n exchangeable samples, the share beyond the (m + 1)-th largest has the
distribution Beta(m + 1, n - m). It is valid for every reference group at once: for all samples with that answer, for
those of them of each true class, and for the same of each tolerated change of the samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from calpow.archiver.calibration.samples import Floats, Ints

Bools = NDArray[np.bool_]

# Confidence by the number of samples, and between them by its logarithm. Small groups are drawn luckily or unluckily,
# and users of an unlucky one would lose all bets; in large ones, slack covers what is left of luck.
CONFIDENCES = ((100, 0.95), (400, 0.8))
# Samples of one class with one answer that form a group of their own. Fewer show too little of a group's tail.
SMALLEST_GROUP = 60
# A class that was answered less often is compared with all samples.
FEWEST_ANSWERS = 20


@dataclass(frozen=True)
class Reference:
    """Scores of legitimate samples by one test, `scores` `[n]`, with their answers, true classes and units, `[n]`.

    The samples of one unit are copies of one another, and count once, by the oddest.
    """

    scores: Floats
    answers: Ints
    classes: Ints
    units: Ints

    def take(self, index: Ints) -> "Reference":
        """Return the samples at these positions."""
        return Reference(self.scores[index], self.answers[index], self.classes[index], self.units[index])

    def descending(self, chosen: Bools) -> Floats:
        """Return the scores of the chosen samples, one for each unit, the largest first."""
        scores, units = self.scores[chosen], self.units[chosen]
        order = np.argsort(-scores, kind="stable")
        _, first = np.unique(units[order], return_index=True)
        result: Floats = scores[order][np.sort(first)]
        return result


@dataclass(frozen=True)
class Groups:
    """The reference groups of each answer: descending scores. A threshold must be valid for every group."""

    by_answer: tuple[tuple[Floats, ...], ...]

    @classmethod
    def of(cls, references: Sequence[Reference], classes: int) -> "Groups":
        """Return the groups of samples and of their tolerated changes."""
        return cls(tuple(tuple(_groups(references, answer)) for answer in range(classes)))

    def thresholds(self, shares: Sequence[float], slack: Floats) -> Floats:
        """Return thresholds `[classes, shares]`, ascending for descending `shares`; infinite where none can be had.

        `slack` `[classes]` divides the shares: by that factor legitimate users may be odder than the samples.
        """
        rows = [
            [max(_threshold(group, share / factor) for group in groups) for share in shares]
            for groups, factor in zip(self.by_answer, slack.tolist(), strict=True)
        ]
        result: Floats = np.maximum.accumulate(np.array(rows), axis=1)
        return result


def _groups(references: Sequence[Reference], answer: int) -> list[Floats]:
    """Return the descending scores of every reference group of an answer."""
    groups = []
    for reference in references:
        here = reference.answers == answer
        of_answer = reference.descending(here)
        if len(of_answer) < FEWEST_ANSWERS:
            groups.append(reference.descending(np.ones_like(here)))
            continue
        of_classes = [
            reference.descending(here & (reference.classes == index)) for index in np.unique(reference.classes[here])
        ]
        groups += [of_answer, *(group for group in of_classes if len(group) >= SMALLEST_GROUP)]
    return [group for group in groups if len(group)]


def _threshold(descending: Floats, share: float) -> float:
    place = largest_rank(len(descending), round(share, 12))
    return float(descending[place]) if place >= 0 else np.inf


def confidence(samples: int) -> float:
    """Return the confidence with which a threshold of so many samples is valid."""
    numbers, confidences = zip(*CONFIDENCES, strict=True)
    return float(np.interp(np.log(samples), np.log(numbers), confidences))


@lru_cache(maxsize=65536)
def largest_rank(samples: int, share: float) -> int:
    """Return the largest m so that the (m + 1)-th largest sample is a threshold of `share`; -1 if there is none."""
    certain = confidence(samples)
    low, high = -1, samples - 1
    while low < high:
        middle = (low + high + 1) // 2
        if betaincinv(middle + 1, samples - middle, certain) <= share:
            low = middle
        else:
            high = middle - 1
    return low


def levels(scores: Floats, answers: Ints, table: Floats) -> Ints:
    """Return the level of each sample: the number of its answer's thresholds that its score exceeds, `[n]`."""
    counts: Ints = (scores[:, None] > table[answers]).sum(axis=1)
    return counts
