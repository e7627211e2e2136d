"""Comparison of legitimate samples with one another, so that no sample vouches for itself.

The samples are divided into folds, and those of a fold are compared with the others'. Attackers' queries, and those of
a fitted policy, are compared with all samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calpow.archiver.calibration.policy_fit.conformal import Groups, Reference
from calpow.archiver.calibration.policy_fit.evidence_data import EvidenceData
from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate
from calpow.archiver.calibration.policy_fit.wealth import Bets, Codes
from calpow.archiver.calibration.samples import Floats, Ints
from calpow.handler.leakage.score import ScoredSamples

FOLDS = 5
SLACKS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
# The position of no slack: for a score that users of a class cannot afford at all, no sample of theirs is odd by it.
NO_SLACK = len(SLACKS)


@dataclass(frozen=True)
class HeldOutCodes:
    """Codes `[n, candidates]` for these bets of samples that were compared with the other folds, by slack and kind."""

    bets: Bets
    kinds: Mapping[str, ScoredSamples]
    by_slack: tuple[Mapping[str, Codes], ...]

    def mixed(self, tests: Sequence[int], slacks: Ints) -> dict[str, Codes]:
        """Return codes `[n, tests]` by kind, each sample's with the slack of its answer.

        `slacks` `[tests, classes]` are positions in SLACKS, or NO_SLACK.
        """
        mixed = {}
        for name, kind in self.kinds.items():
            stack = np.stack([codes[name][:, list(tests)] for codes in self.by_slack])
            at = slacks[:, kind.labels.numpy()].T
            picked = np.take_along_axis(stack, np.minimum(at, NO_SLACK - 1)[None], axis=0)[0]
            mixed[name] = np.where(at < NO_SLACK, picked, 0).astype(np.uint8)
        return mixed


def slack_values(slacks: Ints) -> Floats:
    """Return the slacks at these positions; infinite for NO_SLACK."""
    values: Floats = np.array((*SLACKS, math.inf))[slacks]
    return values


def candidate_tables(data: EvidenceData, candidate: Candidate, slacks: Ints, bets: Bets) -> list[Floats]:
    """Return the thresholds `[classes, shares]` of each sign from all samples; `slacks` `[classes]` are positions."""
    return _tables(_groups(data, candidate), slack_values(slacks), bets)


def cross_fit(
    data: EvidenceData, candidates: Sequence[Candidate], joint: Sequence[int], bets: Bets, rng: np.random.Generator
) -> HeldOutCodes:
    """Compare the samples of every fold, and the same after every change, with those of the other folds.

    The candidate after the last score is the joint oddness of the scores at the positions `joint`, if there are any.
    """
    folds = _folds(data.legitimate.groups.numpy(), rng)
    blank = np.zeros((len(folds), len(candidates)), np.uint8)
    codes = [{name: blank.copy() for name in data.kinds} for _ in SLACKS]
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        compared = data.extended(data.scales(joint, outside)) if joint else data
        for place, candidate in enumerate(candidates):
            groups = _groups(compared, candidate, outside)
            for slack, by_kind in zip(SLACKS, codes, strict=True):
                tables = _tables(groups, np.full(data.classes, slack), bets)
                for name, kind in compared.kinds.items():
                    by_kind[name][inside, place] = candidate.codes(kind, tables, inside)
    return HeldOutCodes(bets, data.kinds, tuple(codes))


def _groups(data: EvidenceData, candidate: Candidate, index: Ints | None = None) -> list[Groups]:
    """Return the reference groups of each sign of a score, of all samples or of those at these positions."""
    groups = []
    for sign in candidate.signs:
        references = [
            Reference(sign * kind.costs[:, candidate.score].numpy(), kind.labels.numpy(), data.units)
            for kind in data.references.values()
        ]
        if index is not None:
            references = [reference.take(index) for reference in references]
        groups.append(Groups.of(references, data.classes, 1.0 if index is None else 1 - 1 / FOLDS))
    return groups


def _tables(groups: Sequence[Groups], slack: Floats, bets: Bets) -> list[Floats]:
    """Return the thresholds `[classes, shares]` of each side; both sides share the budget of a level."""
    return [side.thresholds(bets.shares, slack * len(groups)) for side in groups]


def _folds(groups: Ints, rng: np.random.Generator) -> Ints:
    """Return the fold of each sample; samples of one group are in one fold."""
    names, owners = np.unique(groups, return_inverse=True)
    folds: Ints = (rng.permutation(len(names)) % FOLDS)[owners]
    return folds
