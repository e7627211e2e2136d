"""Scales of the joint oddness: fitted by answer, and the same for many samples as for one in a worker."""

import numpy as np
import pytest

from calpow.archiver.calibration.policy_fit.conformal import FEWEST_ANSWERS
from calpow.archiver.calibration.policy_fit.joint_scales import JointScales
from calpow.handler.policy.joint_oddness import SHARES, OddnessScale
from tests.support.scored_samples import scored

RNG = np.random.default_rng(0)
ANSWERS = np.repeat([0, 1, 2], [400, 300, FEWEST_ANSWERS - 1])
COSTS = np.stack(
    [RNG.normal(ANSWERS, 1.0), RNG.integers(3, size=len(ANSWERS)), np.ones(len(ANSWERS)), RNG.pareto(1, len(ANSWERS))],
    axis=1,
)
SCORES = (0, 1, 2, 3)
SCALES = JointScales.fit(COSTS, ANSWERS, SCORES, 3)


@pytest.mark.parametrize("answer", [0, 1])
def test_the_shares_of_an_answers_samples_exceed_its_quantiles(answer: int) -> None:
    exceeding = (COSTS[answer == ANSWERS, :1] > SCALES.quantiles[0, answer]).mean(axis=0)
    assert exceeding == pytest.approx(SHARES, abs=0.01)


def test_an_answer_with_few_samples_is_compared_with_all() -> None:
    exceeding = (COSTS[:, :1] > SCALES.quantiles[0, 2]).mean(axis=0)
    assert exceeding == pytest.approx(SHARES, abs=0.01)


def test_the_joint_oddness_is_the_last_score_and_exactly_what_a_worker_computes() -> None:
    noisy = COSTS + RNG.normal(0, 3, COSTS.shape) * (RNG.random(COSTS.shape) < 0.5)
    extended = SCALES.extended(scored(noisy, ANSWERS)).costs.numpy()
    assert extended[:, :4].tolist() == noisy.tolist()
    scales = [
        OddnessScale(score, tuple(map(tuple, quantiles)))
        for score, quantiles in zip(SCALES.scores, SCALES.quantiles.tolist(), strict=True)
    ]
    for row, answer, joint in zip(noisy.tolist(), ANSWERS.tolist(), extended[:, 4].tolist(), strict=True):
        summed = 0.0
        for scale in scales:
            summed += scale.oddness(row[scale.score], answer)
        assert joint == summed
