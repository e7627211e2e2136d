"""Attackers on tables keep ranges and columns; attackers on texts keep padding and the ids that are in use."""

import pytest
import torch
from torch import Tensor

from calpow.archiver.calibration.synthetic_inputs.attackers import shuffled
from calpow.archiver.calibration.synthetic_inputs.number_attackers import (
    MOST_FREQUENT,
    extremes,
    frequent,
    gaussian,
    mixed,
    other_column,
    repeated,
)
from tests.support.legitimate_tensors import changed

PADDING = 0


def table() -> Tensor:
    """Return rows of two correlated columns, one of whole numbers, and one far from zero."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(500, generator=generator)
    second = first + 0.3 * torch.randn(500, generator=generator)
    category = torch.randint(0, 4, (500,), generator=generator).float()
    return torch.stack([first, second, category, 1000 + torch.rand(500, generator=generator)], dim=1)


def texts(leading: bool = False) -> Tensor:
    """Return texts of 5 to 30 ids from 1 on, the small ones more frequent, with padding."""
    generator = torch.Generator().manual_seed(0)
    ids = 1 + (400 * torch.rand(300, 30, generator=generator) ** 3).long()
    lengths = torch.randint(5, 31, (300, 1), generator=generator)
    filled = torch.where(torch.arange(30) < lengths, ids, PADDING)
    return filled.flip(1) if leading else filled


def test_gaussian_rows_have_the_moments_of_legitimate_ones_and_whole_columns_stay_whole() -> None:
    rows = table()
    found = changed(gaussian, rows, 1)
    assert torch.allclose(found.mean(dim=0), rows.mean(dim=0), atol=0.2)
    assert torch.allclose(torch.corrcoef(found.T), torch.corrcoef(rows.T), atol=0.15)
    assert torch.equal(found[:, 2], found[:, 2].round())
    assert bool((found >= rows.amin(dim=0)).all())
    assert bool((found <= rows.amax(dim=0)).all())
    assert not bool((found[:, 0] == found[:, 0].round()).any())


def test_one_column_of_each_row_comes_from_another_row() -> None:
    rows = torch.arange(200.0).reshape(50, 4)
    found = changed(other_column, rows)
    assert torch.equal((found != rows).sum(dim=1), torch.ones(50, dtype=torch.long))
    assert bool((found % 4 == torch.arange(4)).all()), "of the same column"


def test_some_columns_of_each_row_are_pushed_to_an_end_of_their_range() -> None:
    rows = table()
    found = changed(extremes, rows)
    away = found != rows
    ends = (found == rows.amin(dim=0)) | (found == rows.amax(dim=0))
    assert bool(ends[away].all())
    assert bool(away[:, [0, 1, 3]].any(dim=1).float().mean() > 0.7)


@pytest.mark.parametrize("leading", [False, True])
def test_padding_at_either_end_stays(leading: bool) -> None:
    inputs = texts(leading)
    for attack in (frequent, repeated, shuffled):
        assert torch.equal(changed(attack, inputs) == PADDING, inputs == PADDING)


def test_frequent_texts_hold_the_most_frequent_ids_only() -> None:
    inputs = texts()
    counts = torch.bincount(inputs.flatten())
    counts[PADDING] = 0
    used = changed(frequent, inputs)
    ids = set(used[used != PADDING].tolist())
    assert 2 <= len(ids) <= MOST_FREQUENT
    assert min(int(counts[number]) for number in ids) >= int(counts.sort(descending=True).values[len(ids)])


def test_repeated_texts_hold_one_id_each_and_differ() -> None:
    found = changed(repeated, texts())
    firsts = found[:, :1]
    assert bool(((found == firsts) | (found == PADDING)).all())
    assert len(set(firsts.flatten().tolist())) > 50


def test_mixed_samples_take_about_half_of_their_ids_from_one_other_sample() -> None:
    inputs = torch.arange(100).reshape(100, 1).expand(100, 40).contiguous()
    for own, row in enumerate(changed(mixed, inputs)):
        foreign = row[row != own]
        assert len(set(foreign.tolist())) == 1
        assert 8 <= len(foreign) <= 32
