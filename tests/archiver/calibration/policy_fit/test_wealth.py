"""Wealth of simulated accounts: that which a worker computes, sample by sample."""

import math

import numpy as np
import pytest

from calpow.archiver.calibration.order import MOST_TESTS
from calpow.archiver.calibration.policy_fit.wealth import (
    HIGHEST_CEILING,
    SCHEMES,
    Bets,
    BettingScheme,
    Codes,
    Wealth,
    betting_scheme,
    mean_payments,
    mean_wealth,
    mean_wealth_by_entry,
    multiples,
    walk,
)
from calpow.handler.ledger.history import MICRO, NO_HISTORY, SKETCH_BYTES, SampleIdentity
from calpow.handler.policy.evidence import Evidence, ScoreTest
from tests.support.calibrations import identity
from tests.support.scored_samples import BETS

USERS, QUERIES, TESTS = 3, 60, 2
LEVELS = len(BETS.shares) + 1
CEILING, ENTRY, EXPONENT = 8.0, 2.0, 0.7


def random_levels(seed: int) -> Codes:
    """Return levels of samples, most of them ordinary, `[users, queries, tests]`."""
    rng = np.random.default_rng(seed)
    odd = rng.random((USERS, QUERIES, TESTS)) < 0.3
    return np.where(odd, rng.integers(1, LEVELS, size=odd.shape), 0).astype(np.uint8)


def step_by_step(codes: Codes, bets: Bets, ceiling: float, start: Wealth) -> list[float]:
    """Return the mean wealth of one account in one test after every query."""
    wealth, means = start.astype(np.float64).tolist(), []
    pairs = [(share, stake) for share in bets.shares for stake in bets.stakes]
    for code in codes.tolist():
        level = code % LEVELS
        for bet, (share, stake) in enumerate(pairs):
            factor = 1 - stake + (stake / share if level > bets.shares.index(share) else 0)
            factor = 1.0 if code == 2 * LEVELS else max(factor, 1.0) if code >= LEVELS else factor
            wealth[bet] = min(max(wealth[bet] * factor, 1.0), math.exp(ceiling))
        means.append(sum(wealth) / len(wealth))
    return means


def evidence_of(bets: Bets) -> Evidence:
    """Return the policy whose samples have the level that their scores say."""
    thresholds = tuple(place + 0.5 for place in range(len(bets.shares)))
    tests = tuple(ScoreTest(score, (thresholds,)) for score in range(TESTS))
    return Evidence(tests, (), bets.shares, bets.stakes, EXPONENT, CEILING, ENTRY, likeness=4)


def test_many_accounts_at_once_have_the_wealth_of_each_alone() -> None:
    codes = np.random.default_rng(0).integers(2 * LEVELS + 1, size=(USERS, QUERIES, TESTS)).astype(np.uint8)
    start = BETS.beginning(ENTRY)
    walked = walk(codes, BETS, CEILING, start)
    assert walked.means.shape == codes.shape
    for user in range(USERS):
        for test in range(TESTS):
            expected = step_by_step(codes[user, :, test], BETS, CEILING, start)
            assert walked.means[user, :, test].tolist() == pytest.approx(expected, rel=1e-4)


def test_a_walk_goes_on_where_another_ended() -> None:
    codes = random_levels(1)
    whole = walk(codes, BETS, CEILING, BETS.beginning(ENTRY))
    first = walk(codes[:, :20], BETS, CEILING, BETS.beginning(ENTRY))
    second = walk(codes[:, 20:], BETS, CEILING, first.end)
    assert np.array_equal(whole.means[:, 20:], second.means)
    assert np.array_equal(whole.end, second.end)


@pytest.mark.parametrize("seed", range(3))
def test_prices_are_those_of_the_policy_in_a_worker(seed: int) -> None:
    """Repeated samples and near-copies included."""
    policy, codes = evidence_of(BETS), random_levels(seed)[0]
    rng = np.random.default_rng(seed)
    history, logs, simulated = NO_HISTORY, [], []
    identities: list[SampleIdentity] = []
    for number, row in enumerate(codes):
        repeated = bool(identities) and rng.random() < 0.2
        near = not repeated and bool(identities) and rng.random() < 0.3
        sketch = bytes(rng.integers(256, size=SKETCH_BYTES, dtype=np.uint8))
        if near:
            sketch = bytes([identities[-1].sketch[0] ^ 0b101]) + identities[-1].sketch[1:]
        sample = identities[-1] if repeated else identity(f"{number}", sketch)
        identities.append(sample)
        history = policy.after(history, policy.charge(row.astype(float).tolist(), 0, sample))
        logs.append(policy.log_multiple(history))
        code = np.full_like(row, BETS.repeated) if repeated else BETS.uncredited(row) if near else row
        simulated.append(code)
    walked = walk(np.stack(simulated)[None], BETS, CEILING, BETS.beginning(ENTRY))
    means = walked.means[0].mean(axis=1, dtype=np.float64)
    assert (EXPONENT * np.log(means)).tolist() == pytest.approx(logs, abs=1e-3)
    assert np.log(walked.end[0]).reshape(-1).tolist() == pytest.approx(
        [log / MICRO for log in history.wealth], abs=1e-3
    )


def test_a_new_account_begins_as_in_a_worker() -> None:
    assert np.log(BETS.beginning(ENTRY)).tolist() * TESTS == pytest.approx(
        [log / MICRO for log in evidence_of(BETS).beginning], abs=1e-5
    )
    assert BETS.beginning(0.0).tolist() == [1.0] * len(BETS.shares) * len(BETS.stakes)


def test_a_repeated_sample_changes_nothing_and_one_without_credit_loses_nothing() -> None:
    start = np.full(len(BETS.shares) * len(BETS.stakes), 5.0, np.float32)
    for code in (BETS.repeated, int(BETS.uncredited(np.zeros(1, np.uint8))[0])):
        walked = walk(np.full((1, 30, 1), code, np.uint8), BETS, CEILING, start)
        assert walked.end.reshape(-1).tolist() == [5.0] * len(start)
    odd = np.full((1, 1, 1), LEVELS - 1, np.uint8)
    credited, uncredited = (walk(codes, BETS, CEILING, start).end for codes in (odd, BETS.uncredited(odd)))
    assert np.array_equal(credited, uncredited)


def test_codes_without_credit_stay_as_they_are() -> None:
    codes = np.arange(2 * LEVELS + 1, dtype=np.uint8)
    once = BETS.uncredited(codes)
    assert np.array_equal(BETS.uncredited(once), once)
    assert once[-1] == BETS.repeated


@pytest.mark.parametrize(("fewer", "more"), [(45, 100), (99, 250), (399, 400)])
def test_the_fewer_samples_an_answer_has_the_fewer_are_the_bets(fewer: int, more: int) -> None:
    few, many = betting_scheme(fewer), betting_scheme(more)
    assert len(few.bets.factors[0]) <= len(many.bets.factors[0])
    assert min(few.bets.shares) >= min(many.bets.shares)
    assert few.most_scores <= many.most_scores


def test_of_answers_with_few_samples_three_scores_are_bet_on_at_most_and_only_with_bold_stakes() -> None:
    for samples in (0, 20, 45, 99, 100, 399):
        scheme = betting_scheme(samples)
        assert scheme.most_scores == 3
        assert min(scheme.bets.stakes) >= 0.05 > min(BETS.stakes)
        assert max(scheme.bets.shares) == 0.1
    assert betting_scheme(400) == betting_scheme(10_000) == BettingScheme(BETS, MOST_TESTS, joint=True)


@pytest.mark.parametrize("bets", [scheme.bets for scheme in SCHEMES.values()])
def test_wealth_of_legitimate_samples_does_not_grow_in_the_mean(bets: Bets) -> None:
    """A bet is an e-value: the mean of its factors is at most 1 where the levels are as rare as they claim."""
    levels = np.array([1 - bets.shares[0], *-np.diff((*bets.shares, 0.0))])
    assert (levels @ bets.factors[: len(levels)]).tolist() == pytest.approx([1.0] * bets.factors.shape[1], abs=1e-5)


def test_mean_wealth_is_that_of_new_accounts() -> None:
    codes = random_levels(2)
    walked = walk(codes, BETS, HIGHEST_CEILING, BETS.beginning(ENTRY))
    assert np.array_equal(mean_wealth(codes, BETS, ENTRY), walked.means)


def test_a_price_is_the_step_nearest_to_a_power_of_the_mean_over_the_tests_and_has_a_cap() -> None:
    means = np.array([[[1.0, 1.0], [4.0, 12.0], [1.1, 1.2], [7.0, 11.0], [1e9, 1e9]]], np.float32)
    assert multiples(means, 0.5, 100.0)[0].tolist() == pytest.approx([1.0, 2**1.5, 1.0, 2**1.5, 2**6.5])


def test_payments_are_means_over_the_first_queries() -> None:
    prices = np.array([[1.0, 3.0, 5.0, 7.0], [2.0, 2.0, 2.0, 2.0]])
    assert mean_payments(prices, (1, 2, 4)).tolist() == [[1.0, 2.0, 4.0], [2.0, 2.0, 2.0]]


def test_accounts_of_several_entries_at_once_have_the_wealth_of_each_alone() -> None:
    codes = random_levels(5)
    entries = (0.0, 1.0, ENTRY)
    for entry, means in zip(entries, mean_wealth_by_entry(codes, BETS, entries), strict=True):
        assert np.array_equal(means, mean_wealth(codes, BETS, entry))
