"""A fitted policy `evidence`: the scores that are bet on, and how large each of them is odd, by class of the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from calpow.archiver.calibration.policy_fit.conformal import levels
from calpow.archiver.calibration.policy_fit.joint_scales import JointScales
from calpow.archiver.calibration.policy_fit.wealth import Bets, Codes
from calpow.archiver.calibration.samples import Floats, Ints
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.leakage.specs import ScoreSpec
from calpow.handler.policy.evidence import Evidence, ScoreTest
from calpow.handler.policy.joint_oddness import OddnessScale


@dataclass(frozen=True)
class Candidate:
    """A score that can be bet on, by its position, read from the high side alone or from both.

    `place` says where the model is looked at: scores of one place see the same strangers.
    """

    score: int
    two_sided: bool
    place: str = field(default="", compare=False)

    @property
    def signs(self) -> tuple[int, ...]:
        """1 for the score itself, and -1 for its negative if it is read from both sides."""
        return (1, -1) if self.two_sided else (1,)

    def codes(self, scored: ScoredSamples, tables: Sequence[Floats], index: Ints) -> Codes:
        """Return the codes of the samples at these positions, by thresholds `[classes, shares]` of each of `signs`."""
        scores, answers = scored.costs[:, self.score].numpy()[index], scored.labels.numpy()[index]
        sides = [levels(sign * scores, answers, table) for sign, table in zip(self.signs, tables, strict=True)]
        codes: Codes = np.max(sides, axis=0).astype(np.uint8)
        return codes


@dataclass(frozen=True)
class FittedTest:
    """A score that is bet on, with thresholds `[classes, shares]`: of the score, and of its negative or None."""

    candidate: Candidate
    high: Floats
    low: Floats | None

    @property
    def tables(self) -> tuple[Floats, ...]:
        """The thresholds of each of the candidate's signs."""
        return (self.high,) if self.low is None else (self.high, self.low)


@dataclass(frozen=True)
class FittedEvidence:
    """The fitted policy, and what it was chosen by.

    scales: of the joint oddness, the score after the last; None where no test is of it. slacks: by test and class,
    `[tests, classes]`. held_out: codes of the samples, each compared with the other folds, by kind ("" for the samples
    themselves), `[n, tests]`. attacks: codes of the attackers' queries that the scores were not chosen by, whose
    positions among an attacker's queries are `judged`.
    """

    tests: tuple[FittedTest, ...]
    scales: JointScales | None
    bets: Bets
    slacks: Floats
    exponent: float
    ceiling: float
    entry: float
    cap: float
    held_out: Mapping[str, Codes]
    attacks: Mapping[str, Codes]
    judged: Mapping[str, Ints]

    def codes(self, scored: ScoredSamples) -> Codes:
        """Return the codes of samples, `[n, tests]`."""
        if self.scales is not None:
            scored = self.scales.extended(scored)
        every = np.arange(len(scored.labels))
        return np.stack([test.candidate.codes(scored, test.tables, every) for test in self.tests], axis=1)


def worker_scores(specs: tuple[ScoreSpec, ...], fit: FittedEvidence) -> tuple[ScoreSpec, ...]:
    """Return the scores that a worker computes: the first, which the paper's policy sums, and those that are bet on."""
    bet_on = [test.candidate.score for test in fit.tests]
    places = dict.fromkeys([0, *bet_on, *(fit.scales.scores if fit.scales else ())])
    # The joint oddness, which is no score of a worker's own, follows the last.
    return tuple(specs[place] for place in places if place < len(specs))


def evidence_policy(
    fit: FittedEvidence, specs: Sequence[ScoreSpec], scores: Sequence[ScoreSpec], likeness: int
) -> Evidence:
    """Return the policy of a fit to the scores `specs`, for a worker that computes `scores`."""
    return Evidence(
        tests=tuple(
            ScoreTest(
                score=scores.index(specs[test.candidate.score]) if test.candidate.score < len(specs) else None,
                high=_reachable(test.high),
                low=() if test.low is None else _reachable(test.low, -1),
            )
            for test in fit.tests
        ),
        scales=() if fit.scales is None else _worker_scales(fit.scales, specs, scores),
        levels=fit.bets.shares,
        stakes=fit.bets.stakes,
        exponent=fit.exponent,
        ceiling=fit.ceiling,
        entry=fit.entry,
        likeness=likeness,
    )


def _worker_scales(
    scales: JointScales, specs: Sequence[ScoreSpec], scores: Sequence[ScoreSpec]
) -> tuple[OddnessScale, ...]:
    return tuple(
        OddnessScale(scores.index(specs[score]), tuple(map(tuple, quantiles)))
        for score, quantiles in zip(scales.scores, scales.quantiles.tolist(), strict=True)
    )


def _reachable(table: Floats, sign: int = 1) -> tuple[tuple[float, ...], ...]:
    """Return the finite thresholds of each class, times `sign`."""
    return tuple(tuple(sign * value for value in row if np.isfinite(value)) for row in table.tolist())
