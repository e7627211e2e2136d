"""Prices in steps: the work that is asked, announced and charged, under any policy."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from calpow.handler.ledger.account import NEW_ACCOUNT, Account
from calpow.handler.ledger.history import MICRO, NO_HISTORY, Charge, History
from calpow.handler.policy.calibrated_policy import CalibratedPolicy, PolicyName
from calpow.handler.policy.solver_fit import SolverFit
from calpow.handler.policy.tariff import LONGEST_SECONDS, Tariff, TooLarge
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import FEWEST_STAMPS
from tests.support.calibrations import EVIDENCE, account_with, calibrated_policy, charge_of, identity

QUARTER = 2 ** (1 / 4)
EIGHTH = 2**0.125
PACES = st.floats(10.0, 1e9)


@st.composite
def policies(draw: st.DrawFn) -> CalibratedPolicy:
    solver = SolverFit(draw(st.sampled_from([0.0, 0.0, 1e-4, 0.01])), draw(PACES))
    floor = draw(st.floats(1e-5, 100.0))
    kind = draw(st.sampled_from([profile.kind for profile in PROFILES.values()]))
    kind = replace(kind, least_bits=draw(st.sampled_from([1, 1, 6, 13])))
    return calibrated_policy(puzzle=kind, solver=solver, floor_seconds=floor)


def tariffs() -> st.SearchStrategy[Tariff]:
    return policies().map(Tariff)


@st.composite
def pasts(draw: st.DrawFn) -> History:
    queries = draw(st.integers(0, 10_000))
    bets = draw(st.lists(st.integers(0, 25 * MICRO), min_size=EVIDENCE.bets, max_size=EVIDENCE.bets))
    return History(draw(st.integers(0, 3 * MICRO)) * queries, queries, tuple(bets))


def steps_of(tariff: Tariff) -> Iterator[int]:
    """Yield all steps, from the smallest."""
    step = tariff.at_least(0)
    yield step
    while step < tariff.longest:
        step = tariff.at_least(step + 1)
        yield step


@settings(max_examples=50)
@given(st.floats(1e-5, 100.0), PACES, st.sampled_from(list(PROFILES)), st.sampled_from([1, 6, 13]))
def test_the_floor_is_a_step_and_asks_for_the_nearest_puzzle_as_it_always_did(
    floor: float, pace: float, profile: str, least_bits: int
) -> None:
    kind, solver = replace(PROFILES[profile].kind, least_bits=least_bits), SolverFit(0.0, pace)
    tariff = Tariff(calibrated_policy(puzzle=kind, solver=solver, floor_seconds=floor))
    nearest = kind.puzzle(solver.work(floor), "nearest")
    assert tariff.floor == tariff.at_least(tariff.floor) == nearest.expected_hashes
    assert tariff.puzzle(tariff.floor, "nearest") == nearest
    assert tariff.asked(NEW_ACCOUNT, 1, 1.0) == tariff.announced(NEW_ACCOUNT) == tariff.floor


def off(policy: CalibratedPolicy) -> float:
    """Return the largest relative error of a puzzle's work: half a stamp of the smallest number of stamps."""
    return 1 / (2 * fewest(policy))


def fewest(policy: CalibratedPolicy) -> int:
    """Return the smallest number of stamps of puzzles with enough work for stamps of two bits."""
    least = policy.puzzle.least_stamps
    return least if policy.puzzle.least_bits == 1 else min(FEWEST_STAMPS, least)


@settings(max_examples=50)
@given(policies())
def test_steps_are_a_quarter_of_a_bit_apart_and_each_is_a_puzzles_work(policy: CalibratedPolicy) -> None:
    tariff = Tariff(policy)
    steps = list(steps_of(tariff))
    assert all(tariff.puzzle(step, "step").expected_hashes == step for step in steps)
    spread = (1 + off(policy)) / (1 - off(policy)) * 1.0001
    # Puzzles of little work have fewer stamps than that, and are further apart.
    apart = [later / former for former, later in pairwise(steps) if former >= 2 * fewest(policy)]
    assert all(QUARTER / spread <= ratio <= QUARTER * spread for ratio in apart)


@example(Tariff(calibrated_policy(puzzle=PROFILES["scrypt-hard"].kind, solver=SolverFit(0.0, 11.0), floor_seconds=1.0)))
@settings(max_examples=50)
@given(tariffs())
def test_no_challenge_takes_the_reference_client_more_than_15_minutes(tariff: Tariff) -> None:
    assume(tariff.seconds(tariff.floor) <= LONGEST_SECONDS)
    assert tariff.seconds(tariff.longest) <= LONGEST_SECONDS


@settings(max_examples=50)
@given(tariffs(), st.floats(0.0, 1.0))
def test_work_is_stated_by_the_smallest_step_that_is_enough(tariff: Tariff, part: float) -> None:
    work = int(part * tariff.longest)
    step = tariff.at_least(work)
    assert step >= work
    assert all(other < work for other in steps_of(tariff) if other < step)


@settings(max_examples=50)
@given(policies(), pasts())
def test_a_price_is_the_step_nearest_to_its_calibrated_work_and_the_cap_at_most(
    policy: CalibratedPolicy, past: History
) -> None:
    tariff, most = Tariff(policy), 1 + off(policy)
    dearest = policy.solver.work(policy.cap * policy.floor_seconds)
    for price in (tariff.after(account_with(past)), tariff.next(account_with(past))):
        assert price == tariff.at_least(price)
        assert tariff.floor <= price <= max(tariff.floor, min(tariff.longest, dearest * most + 1))
    wanted, price = policy.work(past), tariff.after(account_with(past))
    # The smallest puzzles are counted in stamps of one bit: one is off by a hash, and the next to it is twice as much.
    near = 2.0 if wanted < 4 * fewest(policy) else EIGHTH * most * 1.0001
    assert price >= min(tariff.longest / QUARTER, dearest / QUARTER - 1, wanted / near - 1)
    assert price <= max(wanted * near, tariff.floor)


@settings(max_examples=50)
@given(tariffs(), pasts(), st.integers(0, EVIDENCE.bets - 1), st.integers(0, MICRO))
def test_more_wealth_never_costs_less(tariff: Tariff, past: History, bet: int, more: int) -> None:
    wealth = tuple(log + more * (number == bet) for number, log in enumerate(past.wealth))
    dearer = replace(past, wealth=wealth)
    assert tariff.after(account_with(dearer)) >= tariff.after(account_with(past))
    assert tariff.next(account_with(dearer)) >= tariff.next(account_with(past))


def ordinary(samples: int) -> list[Charge]:
    """Return the charges of so many new samples that are odd by no score."""
    return [Charge(MICRO, EVIDENCE.steps[0], identity(f"ordinary {number}")) for number in range(samples)]


@settings(max_examples=50)
@given(tariffs(), pasts(), st.integers(1, 256), st.sampled_from([1.0, 2.5, 10.0]), st.floats(-1.0, 300.0))
def test_what_is_asked_is_what_so_many_ordinary_samples_cost_and_the_price_of_the_next_at_least(
    tariff: Tariff, past: History, samples: int, factor: float, owing: float
) -> None:
    account = Account(past, int(owing * tariff.next(account_with(past))), 1)
    asked = tariff.asked(account, samples, factor)
    next_one = factor * tariff.next(account_with(past))
    _, cost = tariff.price(account_with(past), ordinary(samples), factor)
    if isinstance(asked, TooLarge):
        assert max(cost + account.owed, next_one) > tariff.longest
        assert asked.samples < samples
        assert (asked.samples == 0) == (next_one > tariff.longest)
        return
    least = math.ceil(max(next_one, cost)) + account.owed
    assert asked == tariff.at_least(max(least, tariff.floor))


@settings(max_examples=50)
@given(tariffs(), pasts(), st.integers(2, 256), st.sampled_from([1.0, 10.0]), st.floats(-1.0, 300.0))
def test_a_request_that_is_too_large_is_told_the_most_samples_that_are_not(
    tariff: Tariff, past: History, samples: int, factor: float, owing: float
) -> None:
    account = Account(past, int(owing * tariff.next(account_with(past))), 1)
    asked = tariff.asked(account, samples, factor)
    assume(isinstance(asked, TooLarge) and asked.samples)
    assert isinstance(asked, TooLarge)
    assert isinstance(tariff.asked(account, asked.samples, factor), int)
    assert isinstance(tariff.asked(account, asked.samples + 1, factor), TooLarge)


@pytest.mark.parametrize("samples", [1, 4, 64, 256])
def test_a_new_account_is_not_asked_for_its_entry_by_every_sample_of_a_list(samples: int) -> None:
    entering = replace(EVIDENCE, entry=4.0, exponent=0.8)
    tariff = Tariff(calibrated_policy(evidence=entering))
    _, cost = tariff.price(NEW_ACCOUNT, ordinary(samples), 1.0)
    asked = tariff.asked(NEW_ACCOUNT, samples, 1.0)
    assert asked == tariff.at_least(max(cost, tariff.next(NEW_ACCOUNT)))
    if samples >= 64:
        assert tariff.next(NEW_ACCOUNT) > 10 * tariff.floor
        assert cost < 1.5 * samples * tariff.floor


@settings(max_examples=50)
@given(pasts(), st.integers(1, 20))
def test_by_the_paper_a_list_is_asked_the_next_price_for_every_sample(past: History, samples: int) -> None:
    paper = Tariff(calibrated_policy(name=PolicyName.paper))
    asked = paper.asked(Account(past, 0, 1), samples, 1.0)
    total = samples * paper.next(account_with(past))
    assert asked == paper.at_least(total) or (isinstance(asked, TooLarge) and total > paper.longest)


def test_ordinary_samples_are_priced_one_by_one_down_to_the_floor_only() -> None:
    policy = calibrated_policy()
    dear = History(0, 9, (25 * MICRO,) * EVIDENCE.bets)
    works = list(policy.ordinary_works(dear))
    assert len(works) == pytest.approx(25 / -math.log(1 - min(EVIDENCE.stakes)), abs=2)
    assert works == sorted(works, reverse=True)
    assert works[-1] == policy.work(NO_HISTORY) < works[-3]
    assert list(policy.ordinary_works(NO_HISTORY)) == [policy.work(NO_HISTORY)]


@settings(max_examples=50)
@given(tariffs(), pasts(), st.lists(st.tuples(st.sampled_from(EVIDENCE.steps), st.sampled_from("abcdef")), max_size=40))
def test_a_list_costs_what_its_samples_cost_one_after_another(
    tariff: Tariff, past: History, samples: list[tuple[tuple[int, ...], str]]
) -> None:
    charges = [Charge(MICRO, steps, identity(name)) for steps, name in samples]
    account, singly = account_with(past), 0
    after, price = tariff.price(account, charges, 1.0)
    for charge in charges:
        account, one = tariff.price(account, [charge], 1.0)
        singly += one
    assert (after, price) == (account, singly)
    assert tariff.price(account, [], 10.0) == (account, 0)


@settings(max_examples=50)
@given(policies(), st.integers(0, 20))
def test_a_sample_costs_the_price_after_it_and_a_repeated_one_the_floor(policy: CalibratedPolicy, odd: int) -> None:
    tariff = Tariff(policy)
    past, _ = tariff.price(NEW_ACCOUNT, [charge_of(policy, 2.5, f"odd {number}") for number in range(odd)], 1.0)
    after, price = tariff.price(past, [charge_of(policy, 2.5, "new")], 1.0)
    assert price == tariff.after(after) >= tariff.after(past)
    assert tariff.price(after, [charge_of(policy, 2.5, "new")], 1.0) == (after, tariff.floor)


def test_an_explanations_price_is_that_of_a_prediction_times_its_factor() -> None:
    policy = calibrated_policy()
    tariff = Tariff(policy)
    charge = charge_of(policy, 1.0, "plain")
    after, price = tariff.price(NEW_ACCOUNT, [charge], 10.0)
    assert (after.history.queries, price) == (1, 10 * tariff.floor)
    assert tariff.price(NEW_ACCOUNT, [charge], 1.25)[1] == pytest.approx(1.25 * tariff.floor, abs=1)


def test_one_prediction_can_always_be_asked_for_and_what_one_challenge_cannot_hold_stays_owed() -> None:
    tariff = Tariff(calibrated_policy())
    assert tariff.asked(Account(NO_HISTORY, 3 * tariff.longest, 1), 1, 1.0) == tariff.longest
    assert tariff.asked(Account(NO_HISTORY, 3 * tariff.longest, 1), 2, 1.0) == TooLarge(1)
    assert tariff.announced(Account(NO_HISTORY, 3 * tariff.longest, 1)) == tariff.longest


def test_an_explanation_that_takes_more_than_the_longest_challenge_is_not_asked_for() -> None:
    tariff = Tariff(calibrated_policy(floor_seconds=100.0))
    assert isinstance(tariff.asked(NEW_ACCOUNT, 1, 8.0), int)
    assert tariff.asked(NEW_ACCOUNT, 1, 10.0) == tariff.asked(NEW_ACCOUNT, 3, 10.0) == TooLarge(0)


def test_the_cap_is_one_of_time_also_where_most_of_the_floors_time_is_the_start_of_its_stamps() -> None:
    solver = SolverFit(5e-5, 160e6)
    rich = replace(NO_HISTORY, queries=9, wealth=(25 * MICRO,) * EVIDENCE.bets)
    for cap in (1.0, 100.0, 10_000.0):
        policy = calibrated_policy(solver=solver, floor_seconds=5.5e-5, cap=cap)
        dearest = solver.seconds(Tariff(policy).after(account_with(rich)))
        assert 0.8 * cap * 5.5e-5 <= dearest <= 1.01 * cap * 5.5e-5


def test_the_floor_of_four_stamps_is_exact_and_the_steps_above_it_have_more_stamps() -> None:
    kind = replace(PROFILES["hashcash-sha1"].kind, least_bits=13)
    solver = SolverFit(7e-5, 160e6)
    tariff = Tariff(calibrated_policy(puzzle=kind, solver=solver, floor_seconds=solver.seconds(4 << 13)))
    assert tariff.floor == 4 << 13
    steps = [step for step in steps_of(tariff) if step >= tariff.floor]
    counts = [tariff.puzzle(step, "step").count for step in steps]
    assert counts[:10] == [4, 5, 6, 7, 8, 10, 11, 13, 16, 19]
    assert min(counts[8:]) == 16
    assert max(counts) <= 31
