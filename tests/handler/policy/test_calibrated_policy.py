"""The prices of a calibrated policy: the evidence of samples, and the work for an account's next one."""

import dataclasses

import pytest

from calpow.handler.ledger.ledger import NOTHING, Charge
from calpow.handler.policy.calibrated_policy import PolicyName
from tests.support.calibrations import (
    CONDITIONAL,
    FLOOR_SECONDS,
    HASHES_PER_SECOND,
    calibrated_policy,
    plain_standard,
    totals,
)

POLICY = calibrated_policy(conditional=CONDITIONAL)


def test_the_evidence_of_a_batch_is_each_samples_cost_and_excess_in_micro_units() -> None:
    assert POLICY.evidence_of([[1.5], [1.2345678], [9.0]], [0, 1, 1]) == [
        Charge(1_500_000, 500_000, 1),
        Charge(1_234_568, -765_432, 1),
        Charge(9_000_000, 1_000_000, 1),
    ]


def test_the_paper_sums_the_first_scores_costs() -> None:
    wide = dataclasses.replace(CONDITIONAL, standards=(plain_standard(2), plain_standard(2)))
    policy = calibrated_policy(conditional=wide, scores=2 * calibrated_policy().scores)
    assert policy.evidence_of([[1.5, 2.5]], [0]) == [Charge(1_500_000, 1_000_000, 1)]


def test_work_is_what_the_reference_client_does_in_those_seconds() -> None:
    account = totals(100, excess=50.0)
    assert POLICY.work(account) == pytest.approx(POLICY.seconds(account) * HASHES_PER_SECOND)


def test_a_new_account_is_told_the_floor_as_its_next_work() -> None:
    for name in PolicyName:
        assert calibrated_policy(name=name).next_work(NOTHING) == pytest.approx(FLOOR_SECONDS * HASHES_PER_SECOND)


def test_the_next_work_is_that_of_a_legitimate_query() -> None:
    policy = POLICY
    account = totals(50, cost=150.0, excess=60.0)
    after = totals(51, cost=150.0 + policy.paper.slope, excess=60.0)
    assert policy.next_work(account) == pytest.approx(policy.work(after))
