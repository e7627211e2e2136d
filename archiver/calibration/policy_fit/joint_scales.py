"""Scales of the joint oddness, fitted to legitimate samples, and the joint oddness of many samples at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from calpow.archiver.calibration.policy_fit.conformal import FEWEST_ANSWERS
from calpow.archiver.calibration.samples import Floats, Ints
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.policy.joint_oddness import LEAST_TAIL, MEDIAN, MOST_ODDNESS, ODDNESS, SHARES, TAIL


@dataclass(frozen=True)
class JointScales:
    """Scales of the scores at these positions, with quantiles `[scores, classes, shares]`."""

    scores: tuple[int, ...]
    quantiles: Floats

    @classmethod
    def fit(cls, costs: Floats, answers: Ints, scores: Sequence[int], classes: int) -> "JointScales":
        """Return scales of legitimate samples `[n, scores]`, by answer `[n]`; of all for an answer with few."""
        groups = [np.flatnonzero(answers == answer) for answer in range(classes)]
        groups = [group if len(group) >= FEWEST_ANSWERS else np.arange(len(answers)) for group in groups]
        quantiles = [np.quantile(costs[group][:, list(scores)], 1 - np.array(SHARES), axis=0).T for group in groups]
        return cls(tuple(scores), np.stack(quantiles, axis=1))

    def extended(self, scored: ScoredSamples) -> ScoredSamples:
        """Return samples with their joint oddness as one more score, the last."""
        answers = scored.labels.numpy()
        joint = np.zeros(len(answers))
        for score, quantiles in zip(self.scores, self.quantiles, strict=True):
            joint += _oddness(scored.costs[:, score].numpy(), quantiles[answers])
        return ScoredSamples(torch.cat([scored.costs, torch.from_numpy(joint)[:, None]], dim=1), scored.labels)


def _oddness(values: Floats, quantiles: Floats) -> Floats:
    """Return the oddness of values `[n]` on scales with quantiles `[n, shares]`, as `OddnessScale.oddness` does."""
    odd = np.array(ODDNESS)
    above: Ints = (quantiles < values[:, None]).sum(axis=1)
    place = np.clip(above, 1, len(SHARES) - 1)
    rows = np.arange(len(values))
    low, high = quantiles[rows, place - 1], quantiles[rows, place]
    last = quantiles[:, -1]
    width = np.maximum(last - quantiles[:, -2], LEAST_TAIL * (last - quantiles[:, MEDIAN]))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        between = odd[place - 1] + (values - low) / (high - low) * (odd[place] - odd[place - 1])
        beyond = np.where(width > 0, odd[-1] + (values - last) / width * TAIL, MOST_ODDNESS)
    oddness: Floats = np.where(above == len(SHARES), np.minimum(beyond, MOST_ODDNESS), between)
    return np.where(above == 0, odd[0], oddness)
