"""Scores of made-up legitimate samples and strangers, normal around a centre of each class."""

from collections.abc import Sequence

import numpy as np
import torch

from calpow.archiver.calibration.policy_fit.evidence_data import EvidenceData
from calpow.archiver.calibration.policy_fit.wealth import betting_scheme
from calpow.archiver.calibration.samples import Floats, Ints, Samples
from calpow.handler.leakage.score import ScoredSamples

# The bets where there are many samples, and the highest level of a sample by them.
BETS = betting_scheme(1_000).bets
ODD = len(BETS.shares)
# Distance of the centres of neighbouring classes.
APART = 0.5
# Share of legitimate samples that are taken for the next class.
MISTAKEN = 0.05


def scored(costs: Floats, answers: Ints) -> ScoredSamples:
    """Return scored samples of arrays `[n, scores]` and `[n]`."""
    return ScoredSamples(torch.from_numpy(costs), torch.from_numpy(answers))


def population(seed: int, per_class: int, *, classes: int = 3, scores: int = 2) -> Samples:
    """Return legitimate samples, each independent of the others."""
    rng = np.random.default_rng(seed)
    of_class = np.repeat(np.arange(classes), per_class)
    answers = np.where(rng.random(len(of_class)) < MISTAKEN, (of_class + 1) % classes, of_class)
    costs = rng.normal(size=(len(of_class), scores)) + APART * of_class[:, None]
    names = tuple(f"c{index}" for index in range(classes))
    return Samples.of_arrays(costs, answers, of_class, np.arange(len(of_class)), names)


def strangers(seed: int, number: int, shifts: Sequence[float], *, classes: int = 3) -> ScoredSamples:
    """Return samples whose scores are so much larger than those of legitimate samples with the same answer."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(classes, size=number)
    costs = rng.normal(size=(number, len(shifts))) + APART * answers[:, None] + np.array(shifts)
    return scored(costs, answers)


def evidence_data(samples: Samples, **attacks: ScoredSamples) -> EvidenceData:
    """Return data without tolerated changes, and with attackers who all have data of their own."""
    return EvidenceData(samples, {}, {}, attacks, frozenset(attacks))
