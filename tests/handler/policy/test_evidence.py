"""The policy `evidence`: how odd a sample is, what it does to an account's wealth, and what that costs."""

import math
from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.handler.ledger.history import MICRO, NO_HISTORY, History
from calpow.handler.policy.evidence import Evidence, ScoreTest
from tests.support.calibrations import EVIDENCE, FLOOR_SECONDS, calibrated_policy, charge_of, flat_test, history

POLICY = calibrated_policy()
ORDINARY, UNUSUAL, ODD = 1.0, 1.5, 2.5
SHARES = st.floats(0.001, 0.999)


def life(*costs: float, policy: Evidence = EVIDENCE, past: History = NO_HISTORY) -> History:
    """Return an account's history after samples of these costs, none of which it was answered before."""
    calibrated = calibrated_policy(evidence=policy)
    charges = [charge_of(calibrated, cost, f"{past.queries}.{number}") for number, cost in enumerate(costs)]
    return reduce(policy.after, charges, past)


# ---- How odd --------------------------------------------------------------------------------------------------------


def test_the_level_is_the_number_of_thresholds_that_a_score_exceeds_for_its_class() -> None:
    test = ScoreTest(0, high=((1.0, 2.0), (5.0,)))
    assert [test.level(score, 0) for score in (-9.0, 1.0, 1.1, 2.0, 2.1, 1e300)] == [0, 0, 1, 1, 2, 2]
    assert [test.level(score, 1) for score in (5.0, 5.1, 1e300)] == [0, 1, 1]


def test_a_score_is_odd_on_either_side_where_it_is_read_from_both() -> None:
    test = ScoreTest(0, high=((1.0, 2.0),), low=((-1.0, -2.0),))
    assert [test.level(score, 0) for score in (-2.1, -2.0, -1.0, 0.0, 1.0, 1.5, 2.5)] == [2, 1, 0, 0, 0, 1, 2]


@given(st.lists(st.floats(-100, 100), max_size=4).map(sorted), st.floats(-100, 100))
def test_a_small_score_is_as_odd_as_its_mirror_image_is_large(thresholds: list[float], score: float) -> None:
    low = ScoreTest(0, high=((),), low=(tuple(-threshold for threshold in thresholds),))
    high = ScoreTest(0, high=(tuple(thresholds),))
    assert low.level(-score, 0) == high.level(score, 0) == sum(score > threshold for threshold in thresholds)


def test_a_charge_has_the_cost_of_the_first_score_and_a_step_for_every_bet_in_the_order_of_the_tests() -> None:
    policy = replace(EVIDENCE, tests=(flat_test(2, 1.0, 2.0, score=1), flat_test(2, 1.0, 2.0)))
    charge = policy.charge([1.2345678, 3.0], 0, charge_of(POLICY, 1.0, "a").identity)
    assert charge.cost_micro == 1_234_568
    assert charge.steps == policy.steps[2] + policy.steps[1]
    assert len(charge.steps) == policy.bets == 8


# ---- Wealth ---------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.lists(SHARES, min_size=1, max_size=6, unique=True), st.lists(SHARES, min_size=1, max_size=4))
def test_a_bet_pays_one_at_most_in_the_mean_where_p_values_are_exact(shares: list[float], stakes: list[float]) -> None:
    """Under exact p-values, a sample reaches level k or more with probability `levels[k - 1]`."""
    levels = tuple(sorted(shares, reverse=True))
    policy = replace(EVIDENCE, levels=levels, stakes=tuple(stakes))
    reached = [1.0, *levels, 0.0]
    probability = [more - less for more, less in pairwise(reached)]
    payoffs = np.exp(np.array(policy.steps) / MICRO)
    assert np.array(probability) @ payoffs == pytest.approx(np.ones(payoffs.shape[1]), rel=1e-4)


def test_conformal_p_values_keep_the_mean_at_one_or_below() -> None:
    """Thresholds are order statistics of 99 scores: one more exceeds the k-th largest with probability k / 100."""
    rng = np.random.default_rng(0)
    policy = replace(EVIDENCE, levels=(0.3, 0.1), stakes=(0.5,))
    payoffs = []
    for _ in range(4000):
        scores = np.sort(rng.normal(size=99))[::-1]
        test = ScoreTest(0, ((scores[29], scores[9]),))
        payoffs.append(np.exp(np.array(policy.steps[test.level(rng.normal(), 0)]) / MICRO))
    mean, error = np.mean(payoffs, axis=0), np.std(payoffs, axis=0) / math.sqrt(len(payoffs))
    assert (mean <= 1 + 3 * error).all()


def test_one_stranger_after_another_raises_the_price() -> None:
    prices = [POLICY.seconds(life(*[ODD] * strangers)) for strangers in range(1, 12)]
    assert prices == sorted(prices)
    assert prices[0] < 2 * FLOOR_SECONDS
    assert prices[10] == pytest.approx(2948 * FLOOR_SECONDS)
    assert len(set(prices[:8])) == 8


def test_ordinary_samples_lower_the_price_down_to_the_floor_and_never_below() -> None:
    past = life(*[ODD] * 5)
    prices = [POLICY.seconds(life(*[ORDINARY] * count, past=past)) for count in range(200)]
    assert prices == sorted(prices, reverse=True)
    assert prices[0] > 20 * FLOOR_SECONDS
    assert prices[-1] == FLOOR_SECONDS


def test_an_honest_past_banks_nothing() -> None:
    with_past, without = (life(*[ODD] * 3, past=life(*[ORDINARY] * count)) for count in (10_000, 0))
    assert with_past.wealth == without.wealth


def test_the_ceiling_is_what_an_account_recovers_from() -> None:
    ruined = life(*[ODD] * 1000)
    assert max(ruined.wealth) == EVIDENCE.ceiling * MICRO
    assert POLICY.seconds(life(*[ORDINARY] * 300, past=ruined)) == FLOOR_SECONDS


def test_a_new_account_begins_with_its_entry_and_loses_it_by_ordinary_samples() -> None:
    policy = replace(EVIDENCE, entry=math.log(100))
    calibrated = calibrated_policy(evidence=policy)
    assert NO_HISTORY.wealth == ()
    first = calibrated.seconds(life(ORDINARY, policy=policy))
    assert 2 * FLOOR_SECONDS < first < calibrated.seconds(NO_HISTORY)
    assert calibrated.seconds(life(*[ORDINARY] * 10, policy=policy)) == FLOOR_SECONDS


@given(st.lists(st.sampled_from([ORDINARY, UNUSUAL, ODD]), max_size=30))
def test_the_price_is_the_floor_times_a_power_of_the_mean_wealth(costs: list[float]) -> None:
    past = life(*costs)
    mean = np.mean(np.exp(np.array(EVIDENCE.adopt(past)) / MICRO))
    assert POLICY.seconds(past) == pytest.approx(FLOOR_SECONDS * min(mean**EVIDENCE.exponent, 2948.0))


@pytest.mark.parametrize("wealth", [(), (3.0,), (9.0, 1.0, 2.0), (1.0,) * 60])
def test_a_calibration_with_another_number_of_bets_keeps_the_mean_wealth(wealth: tuple[float, ...]) -> None:
    past = replace(history(5), wealth=tuple(round(log * MICRO) for log in wealth))
    adopted = EVIDENCE.adopt(past)
    assert len(adopted) == EVIDENCE.bets
    mean = np.log(np.mean(np.exp(wealth))) if wealth else 0.0
    assert np.log(np.mean(np.exp(np.array(adopted) / MICRO))) == pytest.approx(mean, abs=1e-5)
    assert EVIDENCE.after(past, charge_of(POLICY, ORDINARY, "a")).wealth <= adopted


def test_a_wealth_beyond_the_ceiling_of_a_new_calibration_is_cut() -> None:
    assert EVIDENCE.adopt(History(0, 9, (40 * MICRO,))) == (25 * MICRO,) * EVIDENCE.bets
