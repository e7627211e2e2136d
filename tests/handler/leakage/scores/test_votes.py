"""Scores by votes of PATE's teachers and of private kNN's neighbours: costs are those of GNMax, and their entropy."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.gnmax.rdp import gnmax_epsilon
from calpow.handler.leakage.score import SampleBatch, Score, VictimOutput
from calpow.handler.leakage.scores.votes import VoteEntropy, VoteScore

ACCOUNTANT = Accountant.epsilon_at(1e-5, 2.0, 50)
PATE = VoteScore.of_teachers(ACCOUNTANT)
ENTROPY = VoteEntropy(3, 50)


def batch_of(votes: Tensor) -> SampleBatch:
    return SampleBatch(answers=np.zeros(len(votes), np.int64), votes=votes.numpy())


def test_a_batch_is_priced_in_its_order() -> None:
    votes = torch.tensor([[0, 50, 0], [20, 15, 15], [0, 1, 49]])
    score: Score = PATE
    costs = score.costs(batch_of(votes))
    assert (costs.dtype, costs.shape) == (np.dtype(np.float64), (3,))
    assert costs.tolist() == pytest.approx(gnmax_epsilon(votes, 2.0, 1e-5).tolist(), rel=1e-9)


@pytest.mark.parametrize("score", [PATE, ENTROPY])
def test_teachers_that_agree_make_a_query_cheaper(score: Score) -> None:
    costs = score.costs(batch_of(torch.tensor([[50, 0, 0], [45, 5, 0], [35, 10, 5], [27, 12, 11]]))).tolist()
    assert costs == sorted(costs)
    assert costs[0] < costs[-1] / 2


@pytest.mark.parametrize(("sigma", "teachers"), [(2.0, 50), (0.2, 5)])
def test_many_classes_without_a_vote_cost_what_the_formulas_say(sigma: float, teachers: int) -> None:
    generator = torch.Generator().manual_seed(0)
    unanimous = torch.full((1, teachers), 7)
    ballots = torch.cat([unanimous, torch.randint(0, 999, (20, teachers), generator=generator) // 300 * 300])
    votes = torch.nn.functional.one_hot(ballots, 1000).sum(dim=1)
    costs = VoteScore.of_teachers(Accountant.epsilon_at(1e-5, sigma, teachers)).costs(batch_of(votes))
    assert costs.tolist() == pytest.approx(gnmax_epsilon(votes, sigma, 1e-5).tolist(), rel=1e-9)


def test_the_entropy_is_that_of_the_shares_of_the_votes() -> None:
    votes = torch.tensor([[0, 50, 0], [20, 15, 15], [0, 1, 49], [17, 17, 16]])
    costs = ENTROPY.costs(batch_of(votes)).tolist()
    assert costs == pytest.approx([float(entropy(row)) for row in votes.numpy()], abs=1e-12)
    assert ENTROPY.highest == math.log(3) >= max(costs)


def test_votes_made_in_inference_mode_can_be_priced() -> None:
    with torch.inference_mode():
        batch = batch_of(torch.tensor([[30, 20, 0]]))
    assert PATE.costs(batch).item() > 0
    assert ENTROPY.costs(batch).item() > 0


def test_votes_of_neighbours_are_on_features() -> None:
    votes = torch.tensor([[20, 15, 15], [0, 1, 49]])
    on_features = VoteScore.on_features(lambda features: features.long(), ACCOUNTANT)
    assert (PATE.needs, on_features.needs) == (VictimOutput.VOTES, VictimOutput.FEATURES)
    batch = SampleBatch(answers=np.zeros(2, np.int64), features=votes.float())
    assert on_features.costs(batch).tolist() == PATE.costs(batch_of(votes)).tolist()


def test_a_score_without_what_it_is_computed_from_says_so() -> None:
    nothing = SampleBatch(answers=np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="features"):
        VoteScore.on_features(lambda features: features.long(), ACCOUNTANT).costs(nothing)
    for score in (PATE, ENTROPY):
        with pytest.raises(ValueError, match="votes"):
            score.costs(nothing)
