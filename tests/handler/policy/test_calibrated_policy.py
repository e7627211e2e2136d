"""The prices of a calibrated policy: the charges of samples, and the work for an account's next one."""

import math
from dataclasses import replace

import pytest

from calpow.handler.ledger.history import NO_HISTORY, Charge
from calpow.handler.policy.calibrated_policy import PolicyName
from tests.support.calibrations import (
    EVIDENCE,
    FLOOR_SECONDS,
    HASHES_PER_SECOND,
    calibrated_policy,
    flat_test,
    history,
    identity,
)

POLICY = calibrated_policy()


def test_the_charge_of_each_sample_is_its_cost_in_millionths_and_the_steps_of_its_level() -> None:
    identities = [identity(name) for name in "abc"]
    assert POLICY.charges([[1.0], [1.2345678], [9.0]], [0, 1, 1], identities) == [
        Charge(1_000_000, EVIDENCE.steps[0], identities[0]),
        Charge(1_234_568, EVIDENCE.steps[1], identities[1]),
        Charge(9_000_000, EVIDENCE.steps[2], identities[2]),
    ]


def test_the_paper_sums_the_first_score_whichever_are_bet_on() -> None:
    second = replace(EVIDENCE, tests=(flat_test(2, 1.2, 1.9, score=1),))
    policy = calibrated_policy(evidence=second, scores=2 * POLICY.scores)
    assert policy.charges([[1.5, 2.5]], [0], [identity("a")]) == [
        Charge(1_500_000, EVIDENCE.steps[2], identity("a")),
    ]


def test_work_is_what_the_reference_client_does_in_those_seconds() -> None:
    past = history(100, 0.0, 5.0, 5.0, 5.0, 5.0)
    assert POLICY.seconds(past) == pytest.approx(FLOOR_SECONDS * math.exp(0.4 * 5.0))
    assert POLICY.work(past) == pytest.approx(POLICY.seconds(past) * HASHES_PER_SECOND)


def test_a_new_account_is_told_the_floor_as_its_next_work() -> None:
    for name in PolicyName:
        assert calibrated_policy(name=name).next_work(NO_HISTORY) == pytest.approx(FLOOR_SECONDS * HASHES_PER_SECOND)


def test_the_next_work_is_that_of_the_past_or_by_the_paper_that_of_a_legitimate_sample() -> None:
    past = history(50, 150.0, 3.0, 0.0, 0.0, 0.0)
    assert POLICY.next_work(past) == POLICY.work(past)
    paper = calibrated_policy(name=PolicyName.paper)
    assert paper.next_work(past) == pytest.approx(paper.work(history(51, 150.0 + paper.paper.slope)))
