"""Strangers of a table's rows: numbers, then categories as one-hot columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.range.domain import StrangerKind
from benchmarks.range.strangers.altered import sample

# Range of a number: without the outermost rows, which are errors of measurement.
OUTERMOST = 0.001


@dataclass(frozen=True)
class TableColumns:
    """The first `numbers` columns hold numbers; then come one-hot columns, as many as each category has values."""

    numbers: int
    categories: tuple[int, ...]

    @property
    def fields(self) -> list[slice]:
        """The columns of each field: one column a number, then those of each category."""
        ends = np.cumsum([self.numbers, *self.categories])
        numbers = [slice(column, column + 1) for column in range(self.numbers)]
        return numbers + [slice(int(start), int(end)) for start, end in pairwise(ends)]

    def uniform(self, owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        """Return rows of numbers that are uniform in their range, and of categories that are uniform."""
        low, high = self._ranges(owned)
        numbers = low + (high - low) * torch.from_numpy(rng.random((count, self.numbers), dtype=np.float32))
        categories = [
            functional.one_hot(torch.from_numpy(rng.integers(values, size=count)), values) for values in self.categories
        ]
        return torch.cat([numbers, *categories], dim=1)

    def columns_shuffled(self, owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        """Return rows whose fields each come from another row."""
        return torch.cat([sample(owned, count, rng)[:, field] for field in self.fields], dim=1)

    def covariance_kept(self, owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        """Return Gaussian rows with the mean and covariance of all columns; a category is its largest column."""
        values = owned.double().numpy()
        rows = rng.multivariate_normal(values.mean(0), np.cov(values.T), size=count, method="eigh")
        gaussian = torch.from_numpy(rows).float()
        categories = [
            functional.one_hot(gaussian[:, field].argmax(1), field.stop - field.start)
            for field in self.fields[self.numbers :]
        ]
        return torch.cat([gaussian[:, : self.numbers], *categories], dim=1)

    def one_column_off(self, owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        """Return legitimate rows of which one number is replaced by one that is uniform in its range."""
        low, high = self._ranges(owned)
        rows = sample(owned, count, rng).clone()
        column = torch.from_numpy(rng.integers(self.numbers, size=count))
        uniform = torch.from_numpy(rng.random(count, dtype=np.float32))
        rows[torch.arange(count), column] = low[column] + (high - low)[column] * uniform
        return rows

    def _ranges(self, owned: Tensor) -> tuple[Tensor, Tensor]:
        numbers = owned[:, : self.numbers]
        return numbers.quantile(OUTERMOST, dim=0), numbers.quantile(1 - OUTERMOST, dim=0)


def table_strangers(columns: TableColumns) -> Mapping[str, StrangerKind]:
    """Return the kinds of strangers of a table, by name."""
    return {
        "uniform": StrangerKind(columns.uniform, is_derived=False),
        "columns shuffled": StrangerKind(columns.columns_shuffled, is_derived=False),
        "covariance kept": StrangerKind(columns.covariance_kept, is_derived=False),
        "one column off": StrangerKind(columns.one_column_off, is_derived=True),
    }
