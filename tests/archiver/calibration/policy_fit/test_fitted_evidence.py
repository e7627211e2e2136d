"""A fitted policy gives samples the levels that a worker gives them."""

import numpy as np

from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate, FittedEvidence, FittedTest
from calpow.handler.policy.evidence import ScoreTest
from tests.support.scored_samples import BETS, scored

HIGH = np.array([[1.0, 2.0, 3.0, 4.0], [2.0, 3.0, np.inf, np.inf]])
LOW = np.array([[0.5, 1.5, np.inf, np.inf], [1.0, 2.0, 3.0, np.inf]])
COSTS = np.stack([np.zeros(60), np.linspace(-5, 5, 60)], axis=1)
ANSWERS = np.arange(60) % 2
EVERY = np.arange(60)
PAIRS = list(zip(COSTS[:, 1].tolist(), ANSWERS.tolist(), strict=True))


def test_a_score_is_odd_where_it_is_large() -> None:
    codes = Candidate(1, two_sided=False).codes(scored(COSTS, ANSWERS), [HIGH], EVERY)
    worker = ScoreTest(1, ((1.0, 2.0, 3.0, 4.0), (2.0, 3.0)))
    assert codes.dtype == np.uint8
    assert codes.tolist() == [worker.level(cost, label) for cost, label in PAIRS]


def test_a_score_of_two_sides_is_odd_where_it_is_small_too() -> None:
    codes = Candidate(1, two_sided=True).codes(scored(COSTS, ANSWERS), [HIGH, LOW], EVERY)
    worker = ScoreTest(1, ((1.0, 2.0, 3.0, 4.0), (2.0, 3.0)), ((-0.5, -1.5), (-1.0, -2.0, -3.0)))
    assert codes.tolist() == [worker.level(cost, label) for cost, label in PAIRS]


def test_codes_are_of_the_samples_that_are_chosen() -> None:
    candidate, samples = Candidate(1, two_sided=False), scored(COSTS, ANSWERS)
    index = np.array([59, 3, 3])
    assert candidate.codes(samples, [HIGH], index).tolist() == candidate.codes(samples, [HIGH], EVERY)[index].tolist()


def test_samples_have_a_code_for_each_test() -> None:
    tests = (FittedTest(Candidate(1, True), HIGH, LOW), FittedTest(Candidate(0, False), HIGH, None))
    fit = FittedEvidence(tests, None, BETS, np.ones((2, 2)), 0.5, 20.0, 1.0, 2948.0, {}, {}, {})
    samples = scored(COSTS, ANSWERS)
    codes = fit.codes(samples)
    assert codes.shape == (60, 2)
    assert codes[:, 0].tolist() == Candidate(1, two_sided=True).codes(samples, [HIGH, LOW], EVERY).tolist()
    assert codes[:, 1].tolist() == [0] * 60
