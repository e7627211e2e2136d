"""The PATE metric: costs from votes, labels from votes, on an ensemble that votes as its inputs say."""

import pytest
import torch
from torch import Tensor

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.gnmax.rdp import gnmax_epsilon
from calpow.handler.leakage.pate import Pate
from calpow.handler.leakage.score import Metric, Seen

ACCOUNTANT = Accountant.epsilon_at(1e-5, 2.0, 50)


def ballots(inputs: Tensor) -> Tensor:
    """An ensemble whose votes are its inputs."""
    return inputs.long()


def test_a_batch_is_priced_in_its_order() -> None:
    votes = torch.tensor([[0, 50, 0], [20, 15, 15], [0, 1, 49]])
    metric: Metric = Pate(ballots, ACCOUNTANT)
    priced = metric.price(Seen(votes.float()))
    assert priced.labels.tolist() == [1, 0, 2]
    assert priced.costs.tolist() == pytest.approx(gnmax_epsilon(votes, 2.0, 1e-5).tolist(), rel=1e-9)


def test_costs_and_labels_have_the_promised_types() -> None:
    priced = Pate(ballots, ACCOUNTANT).price(Seen(torch.ones(7, 4)))
    assert (priced.costs.dtype, priced.costs.shape) == (torch.float64, (7,))
    assert (priced.labels.dtype, priced.labels.shape) == (torch.int64, (7,))


def test_a_tie_goes_to_the_first_class() -> None:
    assert Pate(ballots, ACCOUNTANT).price(Seen(torch.tensor([[0.0, 25.0, 25.0]]))).labels.tolist() == [1]


def test_teachers_that_agree_make_a_query_cheaper() -> None:
    rows = torch.tensor([[50.0, 0, 0], [45.0, 5, 0], [35.0, 10, 5], [27.0, 12, 11]])
    costs = Pate(ballots, ACCOUNTANT).price(Seen(rows)).costs.tolist()
    assert costs == sorted(costs)
    assert costs[0] < costs[-1] / 2


def test_votes_made_in_inference_mode_can_be_priced() -> None:
    with torch.inference_mode():
        inputs = torch.tensor([[30.0, 20.0]])
    assert Pate(ballots, ACCOUNTANT).price(Seen(inputs)).costs.item() > 0
