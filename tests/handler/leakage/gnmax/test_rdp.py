"""GNMax accounting against the formulas written out directly in high-precision arithmetic, and its known bounds."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from torch import Tensor

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.gnmax.composition import rdp_epsilon
from calpow.handler.leakage.gnmax.rdp import ORDERS, gnmax_epsilon, gnmax_rdp, log_q

DELTA = 1e-5
# Enough to tell 1 - q from 1 where q is 1e-70; where it is smaller still, the RDP is nothing beside log(1/delta).
DIGITS = 80


def q_of(votes: Sequence[int], sigma: float) -> mpf:
    """Proposition 7: the union bound over the classes that GNMax may answer instead."""
    top = votes.index(max(votes))
    gaps = Counter(max(votes) - count for index, count in enumerate(votes) if index != top)
    union = sum(classes * mp.erfc(mpf(gap) / (2 * mpf(sigma))) / 2 for gap, classes in gaps.items())
    return min(union, 1 - mpf(1) / len(votes))


def rdp_of(q: mpf, sigma: float, order: float) -> mpf:
    """Theorem 6 with mu2 = sigma sqrt(log 1/q), mu1 = mu2 + 1 (proposition 10); lambda / sigma^2 where it is less."""
    variance, lam = mpf(sigma) ** 2, mpf(order)
    independent = lam / variance
    mu2 = mpf(sigma) * mp.sqrt(-mp.log(q))
    mu1 = mu2 + 1
    if mu2 <= 1 or lam > mu1:
        return independent
    e1, e2 = mu1 / variance, mu2 / variance
    if q > mp.exp((mu2 - 1) * e2) / ((mu1 / (mu1 - 1)) * (mu2 / (mu2 - 1))) ** mu2:
        return independent
    if q * mp.exp(e2) >= 1:
        return independent
    a = (1 - q) / (1 - (q * mp.exp(e2)) ** ((mu2 - 1) / mu2))
    b = mp.exp(e1) / q ** (1 / (mu1 - 1))
    return min(independent, mp.log((1 - q) * a ** (lam - 1) + q * b ** (lam - 1)) / (lam - 1))


def epsilon_of(votes: Sequence[int], sigma: float, delta: float) -> float:
    """The best order of the usual grid, written out again."""
    orders = [2 + index / 2 for index in range(196)] + [100 * 10 ** (index / 199) for index in range(200)]
    with mp.workdps(DIGITS):
        q = q_of(votes, sigma)
        return float(min(rdp_of(q, sigma, order) + mp.log(1 / mpf(delta)) / (order - 1) for order in orders))


def tensor(*rows: Sequence[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64)


def one_hot(teachers: int, classes: int = 10) -> list[int]:
    return [teachers] + [0] * (classes - 1)


CASES = [
    ([250] + [0] * 9, 10.0),
    ([249, 1] + [0] * 8, 10.0),
    ([0, 3, 200, 40, 7, 0, 0, 0, 0, 0], 10.0),
    ([130, 120] + [0] * 8, 10.0),
    ([125, 125] + [0] * 8, 10.0),
    ([25] * 10, 10.0),
    ([50] + [0] * 9, 2.0),
    ([40, 5, 5] + [0] * 7, 2.0),
    ([30, 20] + [0] * 8, 2.0),
    ([5] * 10, 2.0),
    ([39, 0, 0], 1.56),
    ([4, 0], 0.16),
    ([2, 1, 1], 0.16),
    ([1] + [0] * 999, 0.04),
    ([60, 1] + [0] * 98, 5.0),
]


@lru_cache
def epsilon_accountant(sigma: float, teachers: int) -> Accountant:
    return Accountant.epsilon_at(DELTA, sigma, teachers)


@lru_cache
def rdp_accountant(order: float, sigma: float, teachers: int) -> Accountant:
    return Accountant.rdp_at(order, sigma, teachers)


@pytest.mark.parametrize(("votes", "sigma"), CASES)
def test_epsilon_equals_the_formulas_written_out(votes: list[int], sigma: float) -> None:
    assert gnmax_epsilon(tensor(votes), sigma, DELTA).item() == pytest.approx(
        epsilon_of(votes, sigma, DELTA), rel=1e-12
    )


@pytest.mark.parametrize(("votes", "sigma"), CASES)
def test_log_q_equals_the_formula_also_where_q_underflows(votes: list[int], sigma: float) -> None:
    with mp.workdps(DIGITS):
        expected = float(mp.log(q_of(votes, sigma)))
    assert log_q(tensor(votes), sigma).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("votes", "sigma"), CASES)
def test_the_tables_give_the_epsilon_of_the_formulas_written_out(votes: list[int], sigma: float) -> None:
    accountant = epsilon_accountant(sigma, sum(votes))
    assert accountant.costs(tensor(votes)).item() == pytest.approx(epsilon_of(votes, sigma, DELTA), rel=1e-9)


@pytest.mark.parametrize("order", [1.5, 31.5, *(pytest.param(order, marks=pytest.mark.slow) for order in (2.0, 8.0))])
@pytest.mark.parametrize(("votes", "sigma"), CASES)
def test_the_tables_give_the_rdp_of_the_formulas_written_out(votes: list[int], sigma: float, order: float) -> None:
    with mp.workdps(DIGITS):
        expected = float(rdp_of(q_of(votes, sigma), sigma, order))
    cost = rdp_accountant(order, sigma, sum(votes)).costs(tensor(votes)).item()
    assert cost == pytest.approx(expected, rel=1e-9, abs=1e-25)


@pytest.mark.parametrize(("teachers", "sigma"), [(250, 2.0), (250, 1.0), (1000, 10.0)])
def test_the_tables_hold_where_no_float_holds_q(teachers: int, sigma: float) -> None:
    votes = [[teachers, 0, 0], [teachers - 9, 5, 4], [teachers * 4 // 5, teachers // 5, 0]]
    with mp.workdps(DIGITS):
        assert mp.log10(q_of(votes[0], sigma)) < -500
        orders = [2.0, 75.5]
        expected = [[float(rdp_of(q_of(row, sigma), sigma, order)) for order in orders] for row in votes]
    for index, order in enumerate(orders):
        costs = Accountant.rdp_at(order, sigma, teachers).costs(tensor(*votes)).tolist()
        assert costs == pytest.approx([row[index] for row in expected], rel=1e-9, abs=1e-25)


def test_a_summed_rdp_becomes_an_epsilon() -> None:
    with mp.workdps(DIGITS):
        expected = float(mpf("7.25") + mp.log(1 / mpf(DELTA)) / (mpf(8) - 1))
    assert rdp_epsilon(7.25, 8.0, DELTA) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("log10_q", [-1, -2, -3, -6, -10, -20, -40, -60])
@pytest.mark.parametrize("sigma", [1.0, 4.0, 10.0, 40.0])
def test_rdp_equals_the_theorem_at_single_orders(log10_q: int, sigma: float) -> None:
    orders = [1.5, 2.0, 8.5, 31.0, 100.0, 1000.0]
    logq = torch.tensor([log10_q * math.log(10.0)], dtype=torch.float64)
    rdp = gnmax_rdp(logq, sigma, torch.tensor(orders, dtype=torch.float64))
    with mp.workdps(DIGITS):
        expected = [float(rdp_of(mpf(10) ** log10_q, sigma, order)) for order in orders]
    assert rdp[0].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-15)


some_votes = st.integers(2, 12).flatmap(
    lambda classes: st.lists(st.integers(0, 60), min_size=classes, max_size=classes)
)


@settings(max_examples=25, deadline=None)
@given(votes=some_votes, sigma=st.floats(0.5, 20.0), delta=st.sampled_from([1e-3, 1e-5, 1e-9]))
def test_epsilon_equals_the_formulas_on_any_votes(votes: list[int], sigma: float, delta: float) -> None:
    assert gnmax_epsilon(tensor(votes), sigma, delta).item() == pytest.approx(
        epsilon_of(votes, sigma, delta), rel=1e-11
    )


@pytest.mark.parametrize(
    ("teachers", "sigma", "lowest", "highest"), [(250, 10.0, 0.188, 0.689), (50, 2.0, 0.961, 3.645)]
)
def test_a_query_costs_between_the_known_floor_and_ceiling(
    teachers: int, sigma: float, lowest: float, highest: float
) -> None:
    votes = tensor(one_hot(teachers), [teachers // 10] * 10)
    assert gnmax_epsilon(votes, sigma, DELTA).tolist() == pytest.approx([lowest, highest], abs=5e-4)


@pytest.mark.parametrize("teachers", [1, 50, 250, 10_000, 1_000_000])
@pytest.mark.parametrize("sigma", [0.01, 1.0, 100.0])
def test_unanimous_and_uniform_votes_have_finite_costs_in_order(teachers: int, sigma: float) -> None:
    unanimous, uniform = gnmax_epsilon(tensor(one_hot(10 * teachers), [teachers] * 10), sigma, DELTA).tolist()
    assert 0 < unanimous <= uniform
    # The data-independent bound at the orders there are.
    assert uniform == pytest.approx((ORDERS / sigma**2 - math.log(DELTA) / (ORDERS - 1)).min().item())


@settings(max_examples=50, deadline=None)
@given(votes=some_votes, sigma=st.floats(0.05, 50.0))
def test_a_vote_that_changes_to_the_winner_never_makes_a_query_dearer(votes: list[int], sigma: float) -> None:
    top = votes.index(max(votes))
    for index, count in enumerate(votes):
        if index != top and count > 0:
            agreed = list(votes)
            agreed[index] -= 1
            agreed[top] += 1
            before, after = gnmax_epsilon(tensor(votes, agreed), sigma, DELTA).tolist()
            assert after <= before * (1 + 1e-12)


@settings(max_examples=50, deadline=None)
@given(votes=some_votes, sigma=st.floats(0.05, 50.0), data=st.data())
def test_which_class_wins_does_not_matter(votes: list[int], sigma: float, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(votes))
    one, other = gnmax_epsilon(tensor(votes, shuffled), sigma, DELTA).tolist()
    assert one == pytest.approx(other, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(votes=some_votes, sigma=st.floats(0.05, 50.0))
def test_a_smaller_delta_costs_more(votes: list[int], sigma: float) -> None:
    assert gnmax_epsilon(tensor(votes), sigma, 1e-6).item() > gnmax_epsilon(tensor(votes), sigma, 1e-5).item()


def test_a_batch_costs_what_its_queries_cost_alone() -> None:
    votes = torch.randint(0, 50, (64, 10), generator=torch.Generator().manual_seed(0))
    alone = torch.cat([gnmax_epsilon(row[None], 2.0, DELTA) for row in votes])
    assert torch.equal(gnmax_epsilon(votes, 2.0, DELTA), alone)


def test_an_empty_batch_costs_nothing() -> None:
    assert gnmax_epsilon(torch.zeros(0, 10, dtype=torch.int64), 2.0, DELTA).shape == (0,)
