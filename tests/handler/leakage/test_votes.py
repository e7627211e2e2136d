"""Scores by votes of PATE's teachers and of private kNN's neighbours: costs are those of GNMax."""

import pytest
import torch
from torch import Tensor

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.gnmax.rdp import gnmax_epsilon
from calpow.handler.leakage.score import SampleBatch, Score, VictimOutput
from calpow.handler.leakage.votes import VoteScore

ACCOUNTANT = Accountant.epsilon_at(1e-5, 2.0, 50)


def ballots(numbers: Tensor) -> Tensor:
    """Return votes that are the numbers themselves."""
    return numbers.long()


PATE = VoteScore.on_inputs(ballots, ACCOUNTANT)


def test_a_batch_is_priced_in_its_order() -> None:
    votes = torch.tensor([[0, 50, 0], [20, 15, 15], [0, 1, 49]])
    score: Score = PATE
    priced = score.price(SampleBatch(votes.float()))
    assert priced.labels.tolist() == [1, 0, 2]
    assert priced.costs.tolist() == pytest.approx(gnmax_epsilon(votes, 2.0, 1e-5).tolist(), rel=1e-9)


def test_costs_and_labels_have_the_promised_types() -> None:
    priced = PATE.price(SampleBatch(torch.ones(7, 4)))
    assert (priced.costs.dtype, priced.costs.shape) == (torch.float64, (7,))
    assert (priced.labels.dtype, priced.labels.shape) == (torch.int64, (7,))


def test_a_tie_goes_to_the_first_class() -> None:
    assert PATE.price(SampleBatch(torch.tensor([[0.0, 25.0, 25.0]]))).labels.tolist() == [1]


def test_teachers_that_agree_make_a_query_cheaper() -> None:
    rows = torch.tensor([[50.0, 0, 0], [45.0, 5, 0], [35.0, 10, 5], [27.0, 12, 11]])
    costs = PATE.price(SampleBatch(rows)).costs.tolist()
    assert costs == sorted(costs)
    assert costs[0] < costs[-1] / 2


def test_votes_made_in_inference_mode_can_be_priced() -> None:
    with torch.inference_mode():
        inputs = torch.tensor([[30.0, 20.0]])
    assert PATE.price(SampleBatch(inputs)).costs.item() > 0


def test_votes_are_on_inputs_or_on_features() -> None:
    votes = torch.tensor([[20, 15, 15], [0, 1, 49]])
    batch = SampleBatch(torch.zeros(2, 4), features=votes.float())
    on_features = VoteScore.on_features(ballots, ACCOUNTANT)
    assert (PATE.needs, on_features.needs) == (VictimOutput.INPUTS, VictimOutput.FEATURES)
    assert on_features.price(batch).labels.tolist() == [0, 2]
    assert on_features.price(batch).costs.tolist() == PATE.price(SampleBatch(votes.float())).costs.tolist()


def test_a_score_without_what_it_votes_on_says_so() -> None:
    with pytest.raises(ValueError, match="features"):
        VoteScore.on_features(ballots, ACCOUNTANT).price(SampleBatch(torch.zeros(2, 4)))
    with pytest.raises(ValueError, match="inputs of one shape"):
        PATE.price(SampleBatch(None, features=torch.zeros(2, 4)))
