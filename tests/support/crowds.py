"""Recorded samples of made-up users and thieves."""

from dataclasses import replace

import numpy as np

from calpow.archiver.calibration.records.recorded_samples import (
    RecordedSamples,
    VettedSamples,
    vet_records,
)
from calpow.archiver.calibration.samples import Floats

CLASSES = tuple("abcde")

CEILINGS = np.array([3.645, 2.0])


def honest_costs(rng: np.random.Generator, labels: np.ndarray, peculiar: float) -> Floats:
    """Skewed costs by two metrics that differ between classes, and a little between users."""
    mean = np.stack([0.4 + 0.15 * labels, 0.1 + 0.05 * labels], axis=1) * (1 + peculiar)
    costs: Floats = np.minimum(rng.exponential(mean), CEILINGS)
    return costs


def crowd(
    rng: np.random.Generator, users: int, thieves: int, odd_share: float = 1.0, length: int = 200
) -> RecordedSamples:
    """Users `u0`... with class mixtures of their own, and thieves `t0`... who mostly get one class for an answer."""
    costs, labels, owners = [], [], []
    for number in range(users + thieves):
        n = int(rng.integers(length // 4, 2 * length))
        answers = rng.choice(5, n, p=rng.dirichlet(np.full(5, 0.5)))
        cost = honest_costs(rng, answers, rng.normal(0, 0.05))
        if number >= users:
            odd = rng.random(n) < odd_share
            cost = np.where(odd[:, None], CEILINGS * rng.uniform(0.5, 1.0, (n, 1)), cost)
            answers = np.where(odd & (rng.random(n) < 0.8), 3, answers)
        costs.append(cost)
        labels.append(answers)
        owners += [number] * n
    names = tuple(f"u{i}" for i in range(users)) + tuple(f"t{i}" for i in range(thieves))
    count = len(owners)
    return RecordedSamples(
        np.concatenate(costs), np.concatenate(labels), np.array(owners), np.arange(count), names, 0, 0
    )


def together(one: RecordedSamples, other: RecordedSamples) -> RecordedSamples:
    """Both crowds; the other's accounts get an x before their names."""
    owners = np.concatenate([one.owners, other.owners + len(one.accounts)])
    return replace(
        one,
        costs=np.concatenate([one.costs, other.costs]),
        labels=np.concatenate([one.labels, other.labels]),
        owners=owners,
        queries=np.arange(len(owners)),
        accounts=(*one.accounts, *(f"x{name}" for name in other.accounts)),
    )


def vet(recorded: RecordedSamples) -> VettedSamples:
    return vet_records(recorded, CLASSES, np.random.default_rng(0))


def dropped(vetted: VettedSamples, letter: str) -> int:
    return sum(name.startswith(letter) for name, _ in vetted.dropped)
