"""A small domain of the range, two clouds of points, and trials of few users and queries."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.range import cache, victims
from benchmarks.range.domain import InputKind, LabelledInputs, RangeDomain, StrangerKind
from benchmarks.range.shifts import table_shifts
from benchmarks.range.trials import honest, scored_sets, stealing
from benchmarks.range.trials.protection import VICTIM_SEED

COLUMNS = 6
RECIPE = victims.TrainingRecipe(epochs=4, batch=64, peak=1e-2, optimizer=victims.adam)
# Users and queries that are simulated.
FEWER: Mapping[ModuleType, Mapping[str, object]] = {
    honest: {"USERS": 20, "LENGTHS": (100, 300), "SHIFTED_USERS": 20, "SHIFTED_LENGTHS": (100,), "REPEATERS": 20},
    stealing: {"THIEVES": 2, "QUERIES": 600, "COPY_QUERIES": 300, "MIXED": 500, "NEW_ACCOUNTS": 40, "PAST": 300},
    scored_sets: {"COPIED": 1, "COPIES": 300},
}


@contextmanager
def small_range(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Keep the range's cache in a folder and simulate few users and queries until the block ends."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(cache.VARIABLE, str(folder))
        for module, fewer in FEWER.items():
            for name, value in fewer.items():
                monkeypatch.setattr(module, name, value)
        yield monkeypatch


def clouds_domain() -> RangeDomain:
    """Return the domain; its victim is trained and cached."""
    rng = np.random.default_rng(0)
    training, test = clouds(600, rng), clouds(800, rng)
    return RangeDomain(
        name="clouds",
        kind=InputKind.TABLE,
        classes=("left", "right"),
        victim=victims.trained_victim("clouds", VICTIM_SEED, perceptron, RECIPE, training),
        training=training,
        test=test,
        calibration=400,
        strangers={"uniform": StrangerKind(uniform, is_derived=False)},
        shifts=table_shifts(COLUMNS),
    )


def perceptron() -> nn.Module:
    """Return a network, rows [n, COLUMNS] -> logits [n, 2]."""
    return nn.Sequential(nn.Linear(COLUMNS, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))


def clouds(count: int, rng: np.random.Generator) -> LabelledInputs:
    """Return points of two normal distributions."""
    labels = torch.from_numpy(rng.integers(2, size=count))
    points = torch.from_numpy(rng.standard_normal((count, COLUMNS))).float()
    return LabelledInputs(points + (2.0 * labels[:, None] - 1), labels)


def uniform(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return points far from most of the clouds."""
    return torch.from_numpy(rng.uniform(-6, 6, (count, COLUMNS))).float()
