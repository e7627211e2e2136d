"""The paper's policy, fitted: standard users within their budget, by the paper's own formula."""

import math

import numpy as np
import pytest

from calpow.archiver.calibration.policy_fit.paper_fit import LENGTHS, PAPER_BASE, fit_paper, paper_multiples
from calpow.archiver.calibration.policy_fit.wealth import mean_payments
from calpow.archiver.calibration.samples import Samples
from calpow.archiver.errors import FittingError
from calpow.handler.policy.paper import Paper
from tests.support.calibrations import history

CAP, BUDGET = 2948.0, 2.0


def samples_of(seed: int, number: int, scale: float = 1.0) -> Samples:
    """Return samples whose first cost is exponential, as PATE's is about, and whose second is of no account."""
    rng = np.random.default_rng(seed)
    costs = np.stack([scale * rng.exponential(size=number), rng.normal(size=number)], axis=1)
    zeros = np.zeros(number, np.int64)
    return Samples.of_arrays(costs, zeros, zeros, np.arange(number), ("only",))


def test_the_baseline_is_the_mean_of_the_first_cost() -> None:
    samples = samples_of(0, 500)
    policy = fit_paper(samples, BUDGET, CAP, np.random.default_rng(1)).policy
    assert policy.slope == pytest.approx(samples.first_costs.mean())
    assert policy.intercept == 0.0


def test_the_papers_own_base_is_taken_where_standard_users_can_afford_it() -> None:
    fitted = fit_paper(samples_of(0, 5_000, scale=0.1), BUDGET, CAP, np.random.default_rng(1))
    assert fitted.policy.base == pytest.approx(PAPER_BASE)
    assert 1 < fitted.payment <= BUDGET


@pytest.mark.parametrize("number", [50, 200])
def test_a_smaller_base_keeps_fresh_standard_users_within_the_budget_where_samples_are_few(number: int) -> None:
    samples = samples_of(0, number)
    fitted = fit_paper(samples, BUDGET, CAP, np.random.default_rng(1))
    assert fitted.payment <= BUDGET
    assert fitted.policy.base < PAPER_BASE
    rng = np.random.default_rng(2)
    costs = rng.exponential(samples.first_costs.mean(), (300, LENGTHS[-1]))
    distances = np.cumsum(costs - fitted.policy.slope, axis=1)
    prices = paper_multiples(math.log(fitted.policy.base), distances, CAP)
    assert np.percentile(mean_payments(prices, LENGTHS), 99, axis=0).max() <= 1.2 * BUDGET


def test_prices_are_those_of_the_papers_formula_and_of_a_worker() -> None:
    policy = Paper(1.5, 0.0, 1.01)
    costs = np.array([[1.0, 2.0, 900.0, 1.0]])
    summed = np.cumsum(costs)
    distances = summed - 1.5 * np.arange(1, 5)
    prices = paper_multiples(math.log(policy.base), distances[None], CAP)[0]
    assert prices.tolist() == pytest.approx([min(1.01 ** abs(distance), CAP) for distance in distances])
    worker = [policy.log_multiple(history(n, cost)) for n, cost in enumerate(summed.tolist(), 1)]
    assert prices.tolist() == pytest.approx([min(math.exp(log), CAP) for log in worker], rel=1e-4)


def test_costs_that_are_not_finite_are_refused_in_one_line() -> None:
    samples = samples_of(0, 50)
    samples.costs[7, 0] = math.nan
    with pytest.raises(FittingError, match=r"\Asome samples have a first score that is not finite: .*\Z"):
        fit_paper(samples, BUDGET, CAP, np.random.default_rng(1))


def test_constant_costs_make_everybody_pay_the_floor() -> None:
    samples = samples_of(0, 50)
    samples.costs[:, 0] = 1.25
    assert fit_paper(samples, BUDGET, CAP, np.random.default_rng(1)).payment == pytest.approx(1.0)
