"""From scores to votes: the same as argmax and counting, for any scores, ties included."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from calpow.archiver.teachers.ensembles import ballots, count_votes

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
