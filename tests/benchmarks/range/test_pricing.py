"""Prices of simulated streams are those of the policy's arithmetic, and of a gate on a real ledger."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.range.trials.policies import EVIDENCE, PAPER, FittedPolicy, Pool, recently_near
from benchmarks.range.trials.scored_sets import ScoredSet
from benchmarks.range.trials.stealing import best_cycle, paid_before_leaving, price_alone
from calpow.archiver.calibration.policy_fit.fitted_evidence import (
    Candidate,
    FittedEvidence,
    FittedTest,
    evidence_policy,
)
from calpow.archiver.calibration.policy_fit.joint_scales import JointScales
from calpow.archiver.calibration.policy_fit.wealth import Bets
from calpow.archiver.calibration.samples import Floats, Ints
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.leakage.specs import ScoreName, ScoreSpec
from calpow.handler.ledger.history import DIGEST_BYTES, NO_HISTORY, SKETCH_BYTES, SKETCHES, History, SampleIdentity
from calpow.handler.policy.evidence import Evidence
from calpow.handler.policy.paper import Paper
from calpow.handler.policy.tariff import STEPS_PER_BIT
from tests.support.gate_harness import (
    FLOOR_HASHES,
    GateHarness,
    challenge_of,
    claim_work,
    decision_type,
    skip_fsync,
    trust_stamps,
    work_of,
)

SPECS = (ScoreSpec(ScoreName.pate, {}), ScoreSpec(ScoreName.energy, {}))
LIKENESS = 12
# Of the puzzle that is nearest to a step.
ROUNDING = 0.05
CAP = 2948.0


def fitted(
    *tests: FittedTest, name: str = EVIDENCE, likeness: int = LIKENESS, scales: JointScales | None = None
) -> FittedPolicy:
    """Return policies with these tests."""
    evidence = FittedEvidence(
        tests=tests,
        scales=scales,
        bets=Bets((0.3, 0.1), (0.5, 0.1)),
        slacks=np.ones((len(tests), 2)),
        exponent=0.7,
        ceiling=9.0,
        entry=1.5,
        cap=CAP,
        held_out={},
        attacks={},
        judged={},
    )
    return FittedPolicy(name, evidence, Paper(1.0, 0.0, 1.05), tuple(spec.label for spec in SPECS), likeness)


def two_tests() -> tuple[FittedTest, FittedTest]:
    """Return a test of the first score, and one of both sides of the second; by class of the answer."""
    one = np.array([[0.5, 1.3], [0.6, np.inf]])
    two = np.array([[0.8, 1.8], [0.9, 1.5]])
    return FittedTest(Candidate(0, False), one, None), FittedTest(Candidate(1, True), two, two.copy())


@pytest.fixture
def samples() -> ScoredSet:
    """80 samples, of which twenty have sketches that hardly differ."""
    rng = np.random.default_rng(0)
    sketches = rng.integers(256, size=(80, SKETCH_BYTES), dtype=np.uint8)
    sketches[:20] = sketches[0]
    sketches[:20, 0] = rng.integers(256, size=20)
    scores, answers = torch.from_numpy(rng.standard_normal((80, 2))), torch.from_numpy(rng.integers(2, size=80))
    return ScoredSet(ScoredSamples(scores, answers), sketches)


def worker_prices(policy: FittedPolicy, samples: ScoredSet, stream: Ints) -> Floats:
    """Return the prices of a stream in floors, by the arithmetic of a worker."""
    evidence = evidence_policy(policy.evidence, SPECS, SPECS, policy.likeness)
    rule: Evidence | Paper = policy.paper if policy.name == PAPER else evidence
    history, prices = NO_HISTORY, []
    for number in stream.tolist():
        identity = SampleIdentity(number.to_bytes(DIGEST_BYTES, "big"), samples.sketches[number].tobytes())
        is_repeated = history.holds(identity)
        charge = evidence.charge(samples.scored.costs[number].tolist(), int(samples.scored.labels[number]), identity)
        history = evidence.after(history, charge)
        prices.append(1.0 if is_repeated else math.exp(min(rule.log_multiple(history), math.log(CAP))))
    return np.array(prices)


def to_steps(prices: Floats) -> Floats:
    steps: Floats = np.exp2(np.rint(np.log2(prices) * STEPS_PER_BIT) / STEPS_PER_BIT)
    return steps


def test_a_stream_costs_what_the_policys_arithmetic_charges(samples: ScoredSet) -> None:
    policy = fitted(*two_tests(), likeness=-1)
    stream = np.random.default_rng(1).permutation(len(samples.sketches))
    simulated = policy.price(policy.pool(samples), stream[None]).prices[0]
    assert simulated.max() > 10
    np.testing.assert_allclose(simulated, to_steps(worker_prices(policy, samples, stream)), rtol=1e-3)


def test_near_copies_earn_no_credit_in_both(samples: ScoredSet) -> None:
    policy = fitted(*two_tests())
    pool = policy.pool(samples)
    stream = np.random.default_rng(2).permutation(len(pool))[None]
    flagged = recently_near(policy.near(pool), stream)
    assert 15 <= flagged.sum() < 20
    simulated = policy.price(pool, stream, uncredited=flagged).prices[0]
    np.testing.assert_allclose(simulated, to_steps(worker_prices(policy, samples, stream[0])), rtol=1e-3)
    assert not np.allclose(simulated, policy.price(pool, stream).prices[0], rtol=1e-3)


def test_thieves_of_near_copies_pay_more_for_want_of_credit(samples: ScoredSet) -> None:
    policy = fitted(*two_tests())
    pool = policy.pool(samples)
    stolen, none = pool.take(np.arange(20)), np.zeros((20, 20), bool)
    honest = pool.take(np.arange(20, 80))
    assert policy.near(stolen).any()
    assert price_alone(policy, stolen, policy.near(stolen)) > price_alone(policy, stolen, none)
    cycles = [
        best_cycle(policy, stolen, honest, np.random.default_rng(0), near)[0]
        for near in (None, none, policy.near(stolen))
    ]
    assert cycles[0] == cycles[1] < cycles[2]


@pytest.mark.parametrize("name", [EVIDENCE, PAPER])
def test_repetitions_cost_the_floor_and_change_nothing_in_both(samples: ScoredSet, name: str) -> None:
    policy = fitted(*two_tests(), name=name, likeness=-1)
    stream = np.array([30, 31, 30, 30, 32, 31, 33, 30])
    repeated = np.array([False, False, True, True, False, True, False, True])
    simulated = policy.price(policy.pool(samples), stream[None], repeated=repeated[None]).prices[0]
    charged = worker_prices(policy, samples, stream)
    np.testing.assert_allclose(simulated, charged if name == PAPER else to_steps(charged), rtol=1e-3)


def test_only_the_latest_sketches_are_compared_with() -> None:
    near = np.zeros((2 + SKETCHES, 2 + SKETCHES), bool)
    near[0, -1] = near[-1, 0] = True
    between = np.arange(1, SKETCHES + 1)
    late = np.concatenate([[0], between, [SKETCHES + 1]])
    assert not recently_near(near, late[None]).any()
    in_time = np.concatenate([[0], between[1:], [SKETCHES + 1]])
    assert recently_near(near, in_time[None])[0].nonzero()[0].tolist() == [SKETCHES]


def test_a_stream_costs_what_a_gate_on_a_ledger_charges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust_stamps(monkeypatch)
    skip_fsync(monkeypatch)
    test = FittedTest(Candidate(0, False), np.array([[0.5, 1.3], [0.5, 1.3]]), None)
    policy = fitted(test, likeness=-1)
    evidence = evidence_policy(policy.evidence, SPECS[:1], SPECS[:1], -1)
    harness = GateHarness(tmp_path / "ledger.db", evidence=evidence, cap=CAP)
    costs = np.random.default_rng(3).choice([0.1, 0.9, 1.9], p=[0.4, 0.1, 0.5], size=40)
    codes = policy.evidence.codes(ScoredSamples(torch.from_numpy(costs[:, None]), torch.zeros(40, dtype=torch.int64)))
    simulated = policy.price(Pool(codes, costs, np.empty((40, 0), np.uint8)), np.arange(40)[None]).prices[0]
    charged = np.array([charge_of_gate(harness, f"{cost}#{number}") for number, cost in enumerate(costs)])
    assert simulated.max() > 30
    excess = np.log2(charged / FLOOR_HASHES) - np.log2(simulated)
    assert abs(excess).max() <= ROUNDING


def charge_of_gate(harness: GateHarness, text: str) -> int:
    """Buy the answer to a text; return its price in hashes: the work that was paid and is owed more than before."""
    owed, paid, header = harness.account().owed, 0, None
    while decision_type(decision := harness.ask(text, header)) != "answered":
        header = claim_work(challenge_of(decision))
        paid += work_of(header)
    account = harness.account()
    assert isinstance(account.history, History)
    return paid + account.owed - owed


def test_an_account_that_is_given_up_leaves_what_it_owes() -> None:
    prices = np.array([[1.0, 1.0, 1.0], [1.0, 1.5, 9.0], [1.0, 1.0, 1.8]])
    paid = paid_before_leaving(prices, 1.0)
    # A price that is more than twice what was asked is paid before the answer leaves; a smaller rise is owed.
    assert paid.tolist() == [[1, 2, 3], [1, 2, 11.5], [1, 2, 3]]
