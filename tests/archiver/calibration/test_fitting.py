"""Fitting: simulated and fresh legitimate users stay within their room, attackers do not; bad samples are refused."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from calpow.archiver.calibration import simulated_users
from calpow.archiver.calibration.fitting import (
    CAP,
    FEWEST_PER_CLASS,
    PAPER_BASE,
    ROOM,
    bounds_multiples,
    conditional_multiples,
    excesses,
    fit_bounds,
    fit_conditional,
    fit_paper,
    fit_scale,
    paper_multiples,
)
from calpow.archiver.calibration.samples import Floats, Samples
from calpow.archiver.calibration.simulated_users import StreamLengths, simulate, stream_means
from calpow.archiver.errors import FittingError
from calpow.handler.ledger.ledger import Totals
from calpow.handler.policy.policies import MICRO, Paper

CEILING = np.array([3.645])

LOWEST = 0.961

CLASSES = 5

LENGTHS = StreamLengths(10_000)


def population(rng: np.random.Generator, per_class: int) -> Samples:
    """Skewed costs like 50 teachers' on digits; classes differ, and one in twelve is taken for the next class."""
    classes = np.repeat(np.arange(CLASSES), per_class)
    mistaken = rng.random(len(classes)) < 1 / 12
    mean = 0.4 + 0.15 * classes + 0.8 * mistaken
    costs = np.minimum(LOWEST + rng.exponential(mean), CEILING[0])
    voted = np.where(mistaken, (classes + 1) % CLASSES, classes)
    return Samples.of_arrays(costs[:, None], voted, classes, np.arange(len(classes)), tuple("abcde"))


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate fewer users, for tests in which their number does not matter."""
    monkeypatch.setattr(simulated_users, "RESAMPLES", 50)


def paid(multiples: Callable[[Floats], Floats], values: Floats, samples: Samples) -> dict[str, Floats]:
    """Mean multiples at 10, 100, 1,000 and 10,000 queries of each profile's users, who send these samples."""
    rng = np.random.default_rng(9)
    users = [simulate(values, samples, LENGTHS, rng) for _ in range(20)]
    return {
        profile: stream_means(
            multiples(np.concatenate([users_of_round[profile] for users_of_round in users])), LENGTHS, LENGTHS.horizons
        )
        for profile in users[0]
    }


def test_costs_are_standardised_by_the_class_of_the_answer() -> None:
    samples = population(np.random.default_rng(0), 400)
    scale = fit_scale(samples, CEILING)
    for index in range(CLASSES):
        costs = samples.costs[samples.labels == index, 0].numpy()
        assert scale.standards[0].means[index] == pytest.approx(costs.mean())
        assert scale.standards[0].deviations[index] == pytest.approx(costs.std())
    assert excesses(scale, samples).mean() == pytest.approx(0.0, abs=1e-9)


def test_the_excess_of_many_samples_is_that_which_a_worker_computes_of_each() -> None:
    samples = population(np.random.default_rng(3), 200)
    scale = fit_scale(samples, CEILING)
    costs, labels = samples.costs.tolist(), samples.labels.tolist()
    singly = [scale.excess(row, label) for row, label in zip(costs, labels, strict=True)]
    assert excesses(scale, samples).tolist() == pytest.approx(singly, abs=1e-12)


def test_a_class_that_hardly_varies_does_not_make_a_hair_odd() -> None:
    samples = population(np.random.default_rng(0), 400)
    steady = samples.labels == 0
    costs = torch.where(steady[:, None], 1.0 + 1e-6 * samples.costs, samples.costs)
    scale = fit_scale(replace(samples, costs=costs), CEILING)
    assert 0 < scale.standards[0].deviations[0] < scale.standards[0].deviations[1]
    assert np.ptp(excesses(scale, replace(samples, costs=costs))[steady.numpy()]) < 1e-4


@pytest.mark.training
def test_several_scores_are_looked_at_together() -> None:
    samples = population(np.random.default_rng(0), 400)
    rng = np.random.default_rng(5)
    both = replace(samples, costs=torch.hstack([samples.costs, torch.from_numpy(rng.random(samples.costs.shape))]))
    fitted = fit_conditional(both, np.array([CEILING[0], 1.0]), LENGTHS, rng)
    assert len(fitted.policy.standards) == 2
    assert fitted.payments.percentile <= ROOM


@pytest.mark.slow
def test_the_simulated_users_have_room() -> None:
    fitted = fit_conditional(population(np.random.default_rng(0), 45), CEILING, LENGTHS, np.random.default_rng(1))
    assert fitted.payments.mean <= ROOM
    assert 1.0 < fitted.payments.percentile <= ROOM
    assert fitted.policy.spread >= fitted.cross_fitted.spread
    assert fitted.policy.deviation >= fitted.cross_fitted.deviation


@pytest.mark.training
def test_fresh_legitimate_users_of_every_kind_have_room_too() -> None:
    fresh = population(np.random.default_rng(100), 20_000)
    beyond = []
    for seed in range(8):
        policy = fit_conditional(
            population(np.random.default_rng(seed), 45), CEILING, LENGTHS, np.random.default_rng(1)
        ).policy
        excess = excesses(policy, fresh)
        multiples = partial(conditional_multiples, policy, LENGTHS.checkpoints)
        for users in paid(multiples, excess, fresh).values():
            beyond.append((users.mean(axis=0) > ROOM).any())
    assert len(beyond) == 8 * (CLASSES + 2)
    assert sum(beyond) <= 1


@pytest.mark.slow
def test_attackers_pay_a_hundredfold_by_the_hundredth_query() -> None:
    samples = population(np.random.default_rng(0), 45)
    policy = fit_conditional(samples, CEILING, LENGTHS, np.random.default_rng(1)).policy
    high = np.random.default_rng(2).normal(3.3, 0.2, size=tuple(samples.costs.shape)).clip(max=CEILING)
    excess = excesses(policy, replace(samples, costs=torch.from_numpy(high)))
    attacker = paid(lambda sums: conditional_multiples(policy, LENGTHS.checkpoints, sums), excess, samples)[
        "uniform"
    ].mean(axis=0)
    assert attacker[1] > 100
    assert attacker[3] > 1000


@pytest.mark.training
def test_more_samples_let_attackers_hide_less() -> None:
    few, many = (
        fit_conditional(
            population(np.random.default_rng(0), per_class), CEILING, LENGTHS, np.random.default_rng(1)
        ).policy
        for per_class in (20, 500)
    )
    assert many.spread < few.spread / 2


@pytest.mark.training
def test_copies_of_a_sample_do_not_vouch_for_it() -> None:
    samples = population(np.random.default_rng(0), 30)
    index = np.tile(np.arange(len(samples.costs)), 4)
    copied = samples.take(index)
    strangers = replace(copied, groups=torch.arange(len(index)))
    alone, together, apart = (
        fit_conditional(resampled, CEILING, LENGTHS, np.random.default_rng(1)).policy.spread
        for resampled in (samples, copied, strangers)
    )
    assert together == pytest.approx(alone, rel=0.15)
    assert apart < 0.75 * alone


@pytest.mark.slow
def test_what_no_sample_showed_is_allowed_for() -> None:
    samples = replace(
        population(np.random.default_rng(0), 45), costs=torch.full((45 * CLASSES, 1), LOWEST, dtype=torch.float64)
    )
    policy = fit_conditional(samples, CEILING, LENGTHS, np.random.default_rng(1)).policy
    # One user in whose queries the teachers disagree once in 45 times.
    rare = (np.arange(1000) % 45 == 0) * float(CEILING[0] - LOWEST)
    assert policy.log_multiple(Totals(0, round(rare.sum() * MICRO), 1000)) == 0


@pytest.mark.usefixtures("few_resamples")
def test_the_simulation_asks_what_the_gate_asks() -> None:
    rng = np.random.default_rng(3)
    policy = fit_conditional(population(rng, 20), CEILING, LENGTHS, rng).policy
    sums = rng.normal(0, 3, size=(50, len(LENGTHS.checkpoints))) * np.sqrt(LENGTHS.checkpoints)
    for row, asked in zip(sums, conditional_multiples(policy, LENGTHS.checkpoints, sums), strict=True):
        for n, excess, multiple in zip(LENGTHS.checkpoints.tolist(), row, asked, strict=True):
            gate = math.exp(min(policy.log_multiple(Totals(0, round(excess * MICRO), n)), math.log(CAP)))
            assert multiple == pytest.approx(gate, rel=1e-4)
    rule = Paper(0.0, 0.0, 1.0075)
    simulated = paper_multiples(math.log(1.0075), np.array([[-700.0, 3.0, 1e6]]))[0].tolist()
    gates = [rule.log_multiple(Totals(round(cost * MICRO), 0, 1)) for cost in (-700.0, 3.0, 1e6)]
    assert simulated == pytest.approx([math.exp(min(gate, math.log(CAP))) for gate in gates])


@pytest.mark.training
def test_the_papers_base_is_kept_where_the_data_allow_it() -> None:
    rng = np.random.default_rng(0)
    narrow = population(rng, 4000)
    narrow = replace(narrow, costs=torch.from_numpy(0.25 + rng.normal(0, 0.02, size=narrow.costs.shape)))
    fitted = fit_paper(narrow, np.array([0.689]), LENGTHS, rng)
    assert fitted.policy.base == pytest.approx(PAPER_BASE)
    assert (fitted.policy.slope, fitted.policy.intercept) == pytest.approx((0.25, 0.0), abs=0.001)


def test_the_papers_base_is_lowered_until_its_standard_users_have_room() -> None:
    fitted = fit_paper(population(np.random.default_rng(0), 45), CEILING, LENGTHS, np.random.default_rng(1))
    assert 1 < fitted.policy.base < PAPER_BASE
    assert max(fitted.payments.mean, fitted.payments.percentile) <= ROOM
    assert fitted.payments.profile == "uniform"


@pytest.mark.slow
def test_users_of_every_kind_stay_within_the_bounds_and_attackers_do_not() -> None:
    samples = population(np.random.default_rng(0), 400)
    fitted = fit_bounds(samples, CEILING, LENGTHS, np.random.default_rng(1))
    assert fitted.payments.percentile <= ROOM
    assert fitted.policy.base == pytest.approx(PAPER_BASE)
    n = 10_000
    thief = Totals(round(3.3 * n * MICRO), 0, n)
    assert fitted.policy.log_multiple(thief) > math.log(CAP)
    costs = np.array([[1.4 * n, 3.3 * n, 0.2 * n]])
    simulated = bounds_multiples(fitted.policy, np.array([n, n, n]), costs)[0].tolist()
    gates = [fitted.policy.log_multiple(Totals(round(cost * MICRO), 0, n)) for cost in costs[0].tolist()]
    assert simulated == pytest.approx([math.exp(min(gate, math.log(CAP))) for gate in gates])


@pytest.mark.usefixtures("few_resamples")
def test_a_seed_makes_the_fit_repeatable() -> None:
    samples = population(np.random.default_rng(0), 20)
    one, same, other = (fit_conditional(samples, CEILING, LENGTHS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one.policy, one.payments) == (same.policy, same.payments)
    assert one.policy != other.policy


@pytest.mark.usefixtures("few_resamples")
def test_a_class_that_is_never_answered_is_no_obstacle() -> None:
    samples = population(np.random.default_rng(0), 20)
    samples = replace(samples, labels=torch.where(samples.labels == 4, 3, samples.labels))
    policy = fit_conditional(samples, CEILING, LENGTHS, np.random.default_rng(1)).policy
    assert policy.standards[0].means[4] == pytest.approx(float(samples.costs.mean()))
    assert policy.class_means[4] > policy.class_floors[4]


def test_too_few_samples_of_a_class_are_refused_with_the_number_needed() -> None:
    samples = population(np.random.default_rng(0), 20)
    short = samples.take(np.flatnonzero((samples.classes.numpy() != 2) | (np.arange(100) % 20 < 7)))
    for fit in (fit_conditional, fit_paper):
        with pytest.raises(FittingError, match=rf"class c has 7 .* at least {FEWEST_PER_CLASS}\Z"):
            fit(short, CEILING, LENGTHS, np.random.default_rng(1))


def test_costs_that_are_no_numbers_are_refused() -> None:
    samples = population(np.random.default_rng(0), 20)
    with pytest.raises(FittingError, match="no finite cost"):
        fit_conditional(replace(samples, costs=samples.costs * math.nan), CEILING, LENGTHS, np.random.default_rng(1))


def test_teachers_that_never_agree_are_refused() -> None:
    samples = population(np.random.default_rng(0), 20)
    with pytest.raises(FittingError, match="never agree"):
        fit_conditional(
            replace(samples, costs=torch.full((100, 1), float(CEILING[0]), dtype=torch.float64)),
            CEILING,
            LENGTHS,
            np.random.default_rng(1),
        )
