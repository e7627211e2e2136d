"""From scores to votes: the same as argmax and counting, for any scores, ties included."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from calpow.handler.leakage.teachers.heads import HeadEnsemble, Heads, HeadVotes, NetworkEnsemble, ballots, count_votes

shapes = st.tuples(st.integers(2, 12), st.integers(1, 9), st.integers(1, 9))


@given(shape=shapes, levels=st.integers(1, 50), seed=st.integers(0, 2**31))
def test_a_ballot_is_the_first_class_with_the_highest_score(shape: tuple[int, ...], levels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few levels: many scores tie.
    scores = torch.randint(-levels, levels, shape, generator=generator) / 7
    assert torch.equal(ballots(scores), torch.from_numpy(scores.numpy().argmax(axis=0)))


@given(shape=shapes, seed=st.integers(0, 2**31))
def test_votes_are_the_counted_ballots(shape: tuple[int, int, int], seed: int) -> None:
    classes, teachers, n = shape
    cast = torch.randint(0, classes, (teachers, n), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(count_votes(cast, classes), nn.functional.one_hot(cast, classes).sum(dim=0))


def test_scores_of_any_size_are_compared_exactly() -> None:
    scores = torch.tensor([[1e30, -1e30, 1e-30], [1e30, -1e-30, 2e-30]])
    assert ballots(scores).tolist() == [0, 1, 1]


def test_heads_come_back_from_their_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    heads = Heads(torch.randn(5, 12, generator=generator), torch.randn(12, generator=generator))
    ensemble = HeadEnsemble(nn.Identity(), heads, 3)
    features = torch.randn(20, 5, generator=generator)
    again = HeadEnsemble.restored(nn.Identity(), ensemble.state_dict(), 3)
    assert torch.equal(again(features), ensemble(features))
    assert torch.equal(again.ballots(features), ensemble.ballots(features))
    # Each teacher's head is its own columns of the matrix.
    scores = (features @ heads.weight + heads.bias).reshape(20, 4, 3)
    assert torch.equal(ensemble.ballots(features), scores.argmax(dim=2).T)


@pytest.mark.parametrize("trunk", [nn.Identity(), nn.Linear(5, 5)])
@pytest.mark.parametrize("samples", [1, 20])
def test_a_worker_counts_the_votes_of_the_ensemble(trunk: nn.Module, samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    heads = Heads(torch.randn(5, 12, generator=generator), torch.randn(12, generator=generator))
    ensemble = HeadEnsemble(trunk, heads, 3)
    features = torch.randn(samples, 5, generator=generator)
    with torch.inference_mode():
        votes = HeadVotes(ensemble)(features)
    assert votes.dtype == np.int64
    assert votes.tolist() == ensemble(features).tolist()


def test_a_worker_gives_the_vote_of_a_tie_to_the_first_class() -> None:
    heads = Heads(torch.zeros(2, 6), torch.tensor([1.0, 1.0, 0.0, 0.0, 2.0, 2.0]))
    assert HeadVotes(HeadEnsemble(nn.Identity(), heads, 3))(torch.zeros(2, 2)).tolist() == [[1, 1, 0]] * 2


def test_every_teacher_votes_once_where_scores_are_no_numbers() -> None:
    heads = Heads(torch.randn(2, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(6))
    votes = HeadVotes(HeadEnsemble(nn.Identity(), heads, 3))(torch.tensor([[math.nan, 1.0], [1.0, 2.0]]))
    assert votes.sum(axis=1).tolist() == [2, 2]


@pytest.mark.parametrize("missing", ["weight", "bias"])
def test_weights_that_lack_a_part_are_no_heads(missing: str) -> None:
    weights = HeadEnsemble(nn.Identity(), Heads(torch.zeros(5, 12), torch.zeros(12)), 3).state_dict()
    del weights[missing]
    with pytest.raises(KeyError):
        HeadEnsemble.restored(nn.Identity(), weights, 3)


def test_networks_vote_as_each_does_alone() -> None:
    torch.manual_seed(0)
    networks = [nn.Linear(4, 3) for _ in range(5)]
    ensemble = NetworkEnsemble(networks, 3)
    inputs = torch.randn(7, 4)
    expected = torch.stack([network(inputs).argmax(dim=1) for network in networks])
    assert torch.equal(ensemble.ballots(inputs), expected)
    assert torch.equal(ensemble(inputs), count_votes(expected, 3))
