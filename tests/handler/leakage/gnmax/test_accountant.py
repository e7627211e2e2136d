"""Accountant: the tables against the direct formulas, which test_rdp.py checks against another program."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.gnmax.rdp import gnmax_epsilon, gnmax_rdp, log_q
from calpow.handler.leakage.score import SampleBatch
from calpow.handler.leakage.scores.votes import VoteScore

DELTA = 1e-5
EXACT = 1e-9
# Of RDP, less than any sum of queries could notice.
NOTHING = 1e-20
SETTINGS = {250: 10.0, 50: 2.0, 5: 0.2}
EPSILON = {teachers: Accountant.epsilon_at(DELTA, sigma, teachers) for teachers, sigma in SETTINGS.items()}
ORDERS = (1.5, 8.0)
RDP = {(n, order): Accountant.rdp_at(order, sigma, n) for n, sigma in SETTINGS.items() for order in ORDERS}


def assert_exact(costs: Tensor, expected: Tensor) -> None:
    assert costs.dtype == torch.float64
    error = (costs - expected).abs()
    assert bool((error <= EXACT).all())
    assert bool((error <= EXACT * expected + NOTHING).all())


def assert_as_directly(votes: Tensor, teachers: int) -> None:
    sigma = SETTINGS[teachers]
    assert_exact(EPSILON[teachers].costs(votes), gnmax_epsilon(votes, sigma, DELTA))
    rdp = gnmax_rdp(log_q(votes, sigma), sigma, torch.tensor(ORDERS, dtype=torch.float64))
    for index, order in enumerate(ORDERS):
        assert_exact(RDP[teachers, order].costs(votes), rdp[:, index])


def partitions(total: int, parts: int, largest: int) -> list[list[int]]:
    """Return every way to write `total` as `parts` falling numbers up to `largest`."""
    if parts == 1:
        return [[total]] if total <= largest else []
    firsts = range(min(total, largest), -1, -1)
    return [[first, *rest] for first in firsts for rest in partitions(total - first, parts - 1, first)]


@pytest.mark.parametrize(
    ("teachers", "classes"), [(250, 2), (250, 3), (50, 2), (50, 3), (50, 4), (5, 2), (5, 5), (5, 10)]
)
def test_every_vote_there_is_costs_what_the_formulas_say(teachers: int, classes: int) -> None:
    for part in torch.split(torch.tensor(partitions(teachers, classes, teachers)), 2000):
        assert_as_directly(part, teachers)


@st.composite
def ballots(draw: st.DrawFn) -> tuple[Tensor, int]:
    teachers = draw(st.sampled_from(sorted(SETTINGS)))
    classes = draw(st.integers(2, 100))
    seed, sharpness = draw(st.integers(0, 2**31)), draw(st.floats(0, 30))
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(64, classes, generator=generator) ** sharpness + 1e-20
    chosen = torch.multinomial(weights, teachers, True, generator=generator)
    return torch.zeros(64, classes, dtype=torch.int64).scatter_add_(1, chosen, torch.ones_like(chosen)), teachers


@settings(max_examples=30, deadline=None)
@given(ballots())
def test_votes_on_2_to_100_classes_cost_what_the_formulas_say(drawn: tuple[Tensor, int]) -> None:
    assert_as_directly(*drawn)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    sigma=st.floats(0.05, 60.0),
    teachers=st.integers(1, 300),
    delta=st.sampled_from([1e-3, 1e-5, 1e-8]),
    seed=st.integers(0, 2**31),
)
def test_any_noise_and_any_delta_are_accounted_for(sigma: float, teachers: int, delta: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.multinomial(torch.rand(500, 4, generator=generator) ** 8, teachers, True, generator=generator)
    votes = torch.zeros(500, 4, dtype=torch.int64).scatter_add_(1, chosen, torch.ones_like(chosen))
    costs, expected = Accountant.epsilon_at(delta, sigma, teachers).costs(votes), gnmax_epsilon(votes, sigma, delta)
    assert bool(((costs - expected).abs() <= EXACT * expected).all())


@pytest.mark.parametrize("teachers", sorted(SETTINGS))
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_ties_and_unanimous_votes_cost_what_the_formulas_say(teachers: int, classes: int) -> None:
    half = [teachers // 2, teachers // 2] + [0] * (classes - 2)
    rows = [[teachers] + [0] * (classes - 1), half, [0] * classes, [teachers // classes] * classes]
    assert_as_directly(torch.tensor(rows), teachers)


@pytest.mark.parametrize("teachers", sorted(SETTINGS))
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_highest_cost_is_that_of_teachers_who_all_disagree(teachers: int, classes: int) -> None:
    tie = torch.zeros(1, classes, dtype=torch.int64)
    assert EPSILON[teachers].highest == gnmax_epsilon(tie, SETTINGS[teachers], DELTA).item()
    assert EPSILON[teachers].costs(tie).item() == EPSILON[teachers].highest
    assert RDP[teachers, 8.0].costs(tie).item() == RDP[teachers, 8.0].highest == 8.0 / SETTINGS[teachers] ** 2


def test_a_batch_costs_what_its_queries_cost_alone() -> None:
    votes = torch.tensor(partitions(50, 3, 50))[:64]
    for accountant in (EPSILON[50], RDP[50, 1.5], Accountant.epsilon_at(DELTA, 0.5, 50)):
        alone = torch.cat([accountant.costs(row[None]) for row in votes])
        assert torch.equal(accountant.costs(votes), alone)
        assert torch.equal(accountant.costs(votes.T.contiguous().T), alone)


def test_no_cost_is_negative_or_above_the_highest() -> None:
    votes = torch.tensor(partitions(250, 3, 250))
    for accountant in [EPSILON[250], *(RDP[250, order] for order in ORDERS)]:
        costs = accountant.costs(votes)
        assert bool(((costs >= 0) & (costs <= accountant.highest)).all())


def test_votes_are_left_as_they_are() -> None:
    votes = torch.tensor([[40, 10], [25, 25]])
    EPSILON[50].costs(votes)
    assert votes.tolist() == [[40, 10], [25, 25]]


def test_the_largest_request_is_accounted_for_in_one_go() -> None:
    votes = torch.zeros(4096, 100, dtype=torch.int64)
    votes[:, 7] = 250
    assert EPSILON[250].costs(votes).tolist() == pytest.approx([gnmax_epsilon(votes[:1], 10.0, DELTA).item()] * 4096)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_votes_on_a_gpu_are_priced() -> None:
    votes = torch.tensor([[250, 0, 0], [100, 100, 50]])
    batch = SampleBatch(answers=votes.argmax(1).numpy(), features=votes.cuda())
    costs = VoteScore.on_features(lambda features: features, EPSILON[250]).costs(batch)
    assert costs.tolist() == EPSILON[250].costs(votes).tolist()
    assert math.isfinite(costs.sum())
