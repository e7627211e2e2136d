"""A fitted policy gives samples the levels that a worker gives them."""

import numpy as np

from calpow.archiver.calibration.policy_fit.fitted_evidence import (
    Candidate,
    FittedEvidence,
    FittedTest,
    evidence_policy,
    worker_scores,
)
from calpow.archiver.calibration.policy_fit.joint_scales import JointScales
from calpow.handler.leakage.specs import ScoreName, ScoreSpec
from calpow.handler.ledger.history import SampleIdentity
from calpow.handler.policy.evidence import ScoreTest
from tests.support.scored_samples import BETS, scored

SPECS = (ScoreSpec(ScoreName.pate, {}), ScoreSpec(ScoreName.energy, {}), ScoreSpec(ScoreName.prototypes, {}, "conv"))

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


def test_a_worker_bets_as_the_fit_does() -> None:
    high, low = np.array([[0.5, 1.0, np.inf, np.inf], [1.0, 2.0, 3.0, 4.0]]), np.array([[1.0, 1.5, 2.0, np.inf]] * 2)
    tests = (FittedTest(Candidate(2, True), high, low), FittedTest(Candidate(1, False), high, None))
    fit = FittedEvidence(tests, None, BETS, np.ones((2, 2)), 0.6, 20.0, 2.0, 2948.0, {}, {}, {})
    policy = evidence_policy(fit, SPECS, (SPECS[0], SPECS[2], SPECS[1]), likeness=7)
    assert (policy.exponent, policy.ceiling, policy.entry, policy.likeness) == (0.6, 20.0, 2.0, 7)
    assert [test.score for test in policy.tests] == [1, 2]
    assert policy.tests[0].high == ((0.5, 1.0), (1.0, 2.0, 3.0, 4.0))
    assert policy.tests[0].low == ((-1.0, -1.5, -2.0),) * 2
    assert policy.tests[1].low == ()
    costs, labels = np.random.default_rng(0).normal(0, 3, (200, 3)), np.arange(200) % 2
    levels = [
        [test.level((pate, prototypes, energy)[test.score or 0], label) for test in policy.tests]
        for (pate, energy, prototypes), label in zip(costs.tolist(), labels.tolist(), strict=True)
    ]
    assert fit.codes(scored(costs, labels)).tolist() == levels


def test_a_worker_computes_every_score_that_makes_up_the_joint_oddness() -> None:
    costs, labels = np.random.default_rng(0).normal(0, 3, (200, 3)), np.arange(200) % 2
    scales = JointScales.fit(costs, labels, (1, 2), 2)
    last = Candidate(len(SPECS), two_sided=False)
    thresholds = np.array([[2.0, 3.0, 4.0, np.inf], [1.5, 2.5, 5.0, 6.0]])
    tests = (FittedTest(last, thresholds, None), FittedTest(Candidate(0, two_sided=False), thresholds, None))
    fit = FittedEvidence(tests, scales, BETS, np.ones((2, 2)), 0.6, 20.0, 2.0, 2948.0, {}, {}, {})
    assert worker_scores(SPECS, fit) == SPECS
    policy = evidence_policy(fit, SPECS, SPECS, likeness=7)
    assert [test.score for test in policy.tests] == [None, 0]
    assert [scale.score for scale in policy.scales] == [1, 2]
    steps = [
        policy.charge(row, label, SampleIdentity(b"12345678")).steps
        for row, label in zip(costs.tolist(), labels.tolist(), strict=True)
    ]
    of_level = [policy.steps[first] + policy.steps[second] for first, second in fit.codes(scored(costs, labels))]
    assert steps == of_level
