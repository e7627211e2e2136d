"""Conformal thresholds: how large a score of legitimate samples rarely is, by class of the answer.

A threshold of a share a is a number that at most a share a of legitimate samples with that answer exceeds. It is valid
for the samples at hand with a confidence (training-conditional validity, Vovk 2012, "Conditional validity of
inductive conformal predictors"): of n exchangeable samples, the share beyond the (m + 1)-th largest has the
distribution Beta(m + 1, n - m). It is valid for each reference group of the answer: the legitimate samples with that
answer, and those with that answer after each tolerated change.
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
CONFIDENCES = ((100, 0.99), (500, 0.95), (2000, 0.8))
# The largest of n samples is a threshold of a share if n times the share is this or more, whatever the confidence: the
# chance that legitimate samples exceed it more often is at most exp(-2.5) then. Else small classes would have none.
LARGEST_COUNTS = 2.5
# A class that was answered less often is compared with all samples. More often, the largest sample is a threshold of a
# tenth with the least slack.
FEWEST_ANSWERS = 32


@dataclass(frozen=True)
class Reference:
    """Scores of legitimate samples by one test, `scores` `[n]`, with their answers and units, `[n]`.

    The samples of one unit are copies of one another, and count once, by the oddest.
    """

    scores: Floats
    answers: Ints
    units: Ints

    def take(self, index: Ints) -> "Reference":
        """Return the samples at these positions."""
        return Reference(self.scores[index], self.answers[index], self.units[index])

    def descending(self, chosen: Bools) -> Floats:
        """Return the scores of the chosen samples, one for each unit, the largest first."""
        scores, units = self.scores[chosen], self.units[chosen]
        order = np.argsort(-scores, kind="stable")
        _, first = np.unique(units[order], return_index=True)
        result: Floats = scores[order][np.sort(first)]
        return result


@dataclass(frozen=True)
class Groups:
    """The reference groups of each answer: descending scores. A threshold must be valid for every group.

    part: the share of all samples that the groups are made of. LARGEST_COUNTS and FEWEST_ANSWERS are meant for all of
    them: else a part would lack thresholds that the whole has, and hide what users pay for these.
    """

    by_answer: tuple[tuple[Floats, ...], ...]
    part: float = 1.0

    @classmethod
    def of(cls, references: Sequence[Reference], classes: int, part: float = 1.0) -> "Groups":
        """Return the groups of samples and of their tolerated changes."""
        fewest = FEWEST_ANSWERS * part
        return cls(tuple(tuple(_groups(references, answer, fewest)) for answer in range(classes)), part)

    def thresholds(self, shares: Sequence[float], slack: Floats) -> Floats:
        """Return thresholds `[classes, shares]`, ascending for descending `shares`; infinite where none can be had.

        `slack` `[classes]` divides the shares: by that factor legitimate users may be odder than the samples.
        """
        rows = [
            [max(_threshold(group, share / factor, LARGEST_COUNTS * self.part) for group in groups) for share in shares]
            for groups, factor in zip(self.by_answer, slack.tolist(), strict=True)
        ]
        result: Floats = np.maximum.accumulate(np.array(rows), axis=1)
        return result


def _groups(references: Sequence[Reference], answer: int, fewest: float) -> list[Floats]:
    """Return the descending scores of every reference group of an answer."""
    groups = []
    for reference in references:
        here = reference.answers == answer
        of_answer = reference.descending(here)
        if len(of_answer) < fewest:
            of_answer = reference.descending(np.ones_like(here))
        groups.append(of_answer)
    return [group for group in groups if len(group)]


def _threshold(descending: Floats, share: float, largest_counts: float) -> float:
    share = round(share, 12)
    place = largest_rank(len(descending), share)
    if place < 0 and len(descending) * share >= largest_counts:
        place = 0
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
