"""Prices in steps: the work that is asked, announced and charged, under any policy."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from calpow.handler.ledger.ledger import NEW_ACCOUNT, NOTHING, Account, Charge, Totals
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.policies import SolverFit
from calpow.handler.policy.tariff import LONGEST_SECONDS, Tariff, TooLarge
from calpow.puzzle.profiles import PROFILES
from tests.support.calibrations import calibrated_policy

QUARTER = 2 ** (1 / 4)
MICRO = 1_000_000
PACES = st.floats(10.0, 1e9)


@st.composite
def policies(draw: st.DrawFn) -> CalibratedPolicy:
    solver = SolverFit(draw(st.sampled_from([0.0, 0.0, 1e-4, 0.01])), draw(PACES))
    floor = draw(st.floats(1e-5, 100.0))
    kind = draw(st.sampled_from([profile.kind for profile in PROFILES.values()]))
    return calibrated_policy(puzzle=kind, solver=solver, floor_seconds=floor)


def tariffs() -> st.SearchStrategy[Tariff]:
    return policies().map(Tariff)


@st.composite
def pasts(draw: st.DrawFn) -> Totals:
    queries = draw(st.integers(0, 10_000))
    return Totals(draw(st.integers(0, 3 * MICRO)) * queries, draw(st.integers(-MICRO, 2 * MICRO)) * queries, queries)


def steps_of(tariff: Tariff) -> Iterator[int]:
    """Yield all steps, from the smallest."""
    step = tariff.at_least(0)
    yield step
    while step < tariff.longest:
        step = tariff.at_least(step + 1)
        yield step


@settings(max_examples=50)
@given(st.floats(1e-5, 100.0), PACES, st.sampled_from(list(PROFILES)))
def test_the_floor_is_a_step_and_asks_for_the_nearest_puzzle_as_it_always_did(
    floor: float, pace: float, profile: str
) -> None:
    kind, solver = PROFILES[profile].kind, SolverFit(0.0, pace)
    tariff = Tariff(calibrated_policy(puzzle=kind, solver=solver, floor_seconds=floor))
    nearest = kind.puzzle(solver.work(floor), "nearest")
    assert tariff.floor == tariff.at_least(tariff.floor) == nearest.expected_hashes
    assert tariff.puzzle(tariff.floor, "nearest") == nearest
    assert tariff.asked(NEW_ACCOUNT, 1, 1.0) == tariff.announced(NEW_ACCOUNT) == tariff.floor


def off(policy: CalibratedPolicy) -> float:
    """Return the largest relative error of a puzzle's work: half a stamp of the smallest number of stamps."""
    return 1 / (2 * policy.puzzle.least_stamps)


@settings(max_examples=50)
@given(policies())
def test_steps_are_a_quarter_of_a_bit_apart_and_each_is_a_puzzles_work(policy: CalibratedPolicy) -> None:
    tariff = Tariff(policy)
    steps = list(steps_of(tariff))
    assert all(tariff.puzzle(step, "step").expected_hashes == step for step in steps)
    spread = (1 + off(policy)) / (1 - off(policy)) * 1.0001
    # Puzzles of little work have fewer stamps than that, and are further apart.
    apart = [later / former for former, later in pairwise(steps) if former >= 2 * policy.puzzle.least_stamps]
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
def test_a_price_is_a_step_and_no_less_than_its_calibrated_work_but_for_a_puzzles_rounding(
    policy: CalibratedPolicy, totals: Totals
) -> None:
    tariff = Tariff(policy)
    for price in (tariff.after(totals), tariff.next(totals)):
        assert price == tariff.at_least(price)
        assert tariff.floor <= price <= tariff.longest
    wanted, price = policy.work(totals), tariff.after(totals)
    assert price >= min(tariff.longest, wanted * (1 - off(policy)) * 0.9999 - 1)
    # The smallest puzzles are counted in stamps of one bit: one is off by a hash, and the next to it is twice as much.
    assert price <= max(2 * wanted, wanted * QUARTER * (1 + off(policy)), tariff.floor)


@settings(max_examples=50)
@given(tariffs(), pasts(), st.integers(0, MICRO))
def test_more_excess_never_costs_less(tariff: Tariff, totals: Totals, more: int) -> None:
    dearer = Totals(totals.cost_micro, totals.excess_micro + more, totals.queries)
    assert tariff.after(dearer) >= tariff.after(totals)
    assert tariff.next(dearer) >= tariff.next(totals)


@settings(max_examples=50)
@given(tariffs(), pasts(), st.integers(1, 256), st.sampled_from([1.0, 2.5, 10.0]), st.floats(-1.0, 300.0))
def test_what_is_asked_covers_samples_and_debts_and_is_a_step_between_the_floor_and_the_longest(
    tariff: Tariff, totals: Totals, samples: int, factor: float, owing: float
) -> None:
    account = Account(totals, int(owing * tariff.next(totals)), 1)
    asked = tariff.asked(account, samples, factor)
    needed = samples * factor * tariff.next(totals) + account.owed
    if isinstance(asked, TooLarge):
        assert needed > tariff.longest
        assert asked.samples < samples
        assert (asked.samples == 0) == (factor * tariff.next(totals) > tariff.longest)
        return
    assert asked == tariff.at_least(asked)
    assert tariff.floor <= asked <= tariff.longest
    assert asked >= needed or (samples == 1 and asked == tariff.longest)


@settings(max_examples=50)
@given(tariffs(), pasts(), st.integers(2, 256), st.sampled_from([1.0, 10.0]), st.floats(-1.0, 300.0))
def test_a_request_that_is_too_large_is_told_the_most_samples_that_are_not(
    tariff: Tariff, totals: Totals, samples: int, factor: float, owing: float
) -> None:
    account = Account(totals, int(owing * tariff.next(totals)), 1)
    asked = tariff.asked(account, samples, factor)
    assume(isinstance(asked, TooLarge) and asked.samples)
    assert isinstance(asked, TooLarge)
    assert isinstance(tariff.asked(account, asked.samples, factor), int)
    assert isinstance(tariff.asked(account, asked.samples + 1, factor), TooLarge)


@settings(max_examples=50)
@given(tariffs(), pasts(), st.lists(st.tuples(st.integers(0, 3 * MICRO), st.integers(-MICRO, 2 * MICRO)), max_size=40))
def test_a_list_costs_what_its_samples_cost_one_after_another(
    tariff: Tariff, totals: Totals, costs: list[tuple[int, int]]
) -> None:
    evidence = [Charge(cost, excess, 1) for cost, excess in costs]
    after, price = tariff.price(totals, evidence, 1.0)
    singly = 0
    for charge in evidence:
        totals, one = tariff.price(totals, [charge], 1.0)
        singly += one
    assert (after, price) == (totals, singly)
    assert tariff.price(totals, [], 10.0) == (totals, 0)


def test_an_explanations_price_is_that_of_a_prediction_times_its_factor() -> None:
    tariff = Tariff(calibrated_policy())
    charge = Charge(MICRO, 0, 1)
    assert tariff.price(NOTHING, [charge], 10.0) == (Totals(MICRO, 0, 1), 10 * tariff.floor)
    assert tariff.price(NOTHING, [charge], 1.25)[1] == pytest.approx(1.25 * tariff.floor, abs=1)


def test_one_prediction_can_always_be_asked_for_and_what_one_challenge_cannot_hold_stays_owed() -> None:
    tariff = Tariff(calibrated_policy())
    assert tariff.asked(Account(NOTHING, 3 * tariff.longest, 1), 1, 1.0) == tariff.longest
    assert tariff.asked(Account(NOTHING, 3 * tariff.longest, 1), 2, 1.0) == TooLarge(1)
    assert tariff.announced(Account(NOTHING, 3 * tariff.longest, 1)) == tariff.longest


def test_an_explanation_that_takes_more_than_the_longest_challenge_is_not_asked_for() -> None:
    tariff = Tariff(calibrated_policy(floor_seconds=100.0))
    assert isinstance(tariff.asked(NEW_ACCOUNT, 1, 8.0), int)
    assert tariff.asked(NEW_ACCOUNT, 1, 10.0) == tariff.asked(NEW_ACCOUNT, 3, 10.0) == TooLarge(0)
