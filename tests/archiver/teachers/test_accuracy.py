"""Accuracies as counted by hand, and a word about teachers that are too weak."""

import pytest
import torch
from torch import Tensor

from calpow.archiver.teachers.accuracy import Accuracy, measure_accuracy


class Fixed:
    """Three teachers whose ballots are the values themselves."""

    classes = 3

    def ballots(self, values: Tensor) -> Tensor:
        return values.T


def test_mean_worst_vote_and_chance_are_counted_over_all_batches() -> None:
    truth = torch.tensor([0, 0, 1, 2] * 100)
    cast = torch.stack([truth, truth, torch.zeros_like(truth)], dim=1)
    measured = measure_accuracy(Fixed(), cast, truth)
    assert measured == Accuracy(400, 2.5 / 3, 0.5, 1.0, 0.5, measured.ceiling)


class Divided:
    """A hundred teachers; on samples of value 1, every class has as many votes, on others all teachers agree."""

    classes = 4

    def ballots(self, values: Tensor) -> Tensor:
        divided = torch.arange(100)[:, None] % 4
        return torch.where(values[None] == 1, divided, torch.zeros_like(divided))


def test_a_vote_that_costs_the_most_it_can_is_at_the_ceiling() -> None:
    values = torch.tensor([1, 0, 0, 0] * 100)
    assert measure_accuracy(Divided(), values, torch.zeros_like(values)).ceiling == 0.25


@pytest.mark.parametrize(("vote", "chance", "weak"), [(0.9, 0.1, False), (0.56, 0.1, False), (0.54, 0.1, True)])
def test_teachers_hardly_better_than_guessing_are_called_weak(vote: float, chance: float, weak: bool) -> None:
    weakness = Accuracy(100, 0.5, 0.1, vote, chance, 0.0).weakness
    assert (weakness is not None) == weak
    assert weakness is None or "fewer --teachers" in weakness


@pytest.mark.parametrize(("ceiling", "weak"), [(0.5, False), (0.51, True)])
def test_a_vote_mostly_at_the_ceiling_is_called_weak(ceiling: float, weak: bool) -> None:
    weakness = Accuracy(100, 0.5, 0.1, 0.9, 0.1, ceiling).weakness
    assert (weakness is not None) == weak
    assert weakness is None or "51.0% of the votes on samples held back cost the most" in weakness
