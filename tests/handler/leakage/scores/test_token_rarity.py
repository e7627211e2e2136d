"""The rarity of whole numbers: a mean of minus log frequencies, whatever the length."""

import numpy as np
import pytest
import torch
from torch import Tensor

from calpow.handler.leakage.score import SampleBatch, VictimOutput
from calpow.handler.leakage.scores.token_rarity import TokenRarity

COSTS = torch.tensor([0.5, 1.0, 6.0, 2.5])
SCORE = TokenRarity(COSTS)


def costs(*ids: Tensor) -> list[float]:
    answers = np.zeros(sum(len(rows) for rows in ids), np.int64)
    return list(SCORE.costs(SampleBatch(answers=answers, ids=ids)).tolist())


def test_it_is_the_mean_over_the_numbers_of_an_input() -> None:
    assert costs(torch.tensor([[0, 1, 3], [2, 2, 2]])) == pytest.approx([4.0 / 3, 6.0])


def test_calls_may_have_inputs_of_different_lengths_and_types() -> None:
    ragged = [torch.tensor([[0, 1]]), torch.tensor([[3], [0]], dtype=torch.int32), torch.tensor([[[1, 1], [1, 1]]])]
    assert costs(*ragged) == pytest.approx([0.75, 2.5, 0.5, 1.0])


@pytest.mark.parametrize("unknown", [-1, 4, 5, 10**9, -(10**9)])
def test_a_number_beyond_the_vocabulary_counts_as_the_rarest(unknown: int) -> None:
    assert costs(torch.tensor([[unknown, 0]])) == pytest.approx([3.25])


def test_an_input_without_numbers_has_no_finite_cost() -> None:
    assert not torch.tensor(costs(torch.zeros(1, 0, dtype=torch.int64))).isfinite().any()


def test_without_whole_numbers_there_is_no_score() -> None:
    assert SCORE.needs is VictimOutput.IDS
    with pytest.raises(ValueError, match="whole numbers"):
        SCORE.costs(SampleBatch(answers=np.zeros(1, np.int64)))
