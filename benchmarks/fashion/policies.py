"""Payments of honest users and attackers under a policy that is fitted to one half of the test images."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor
from tqdm import tqdm

from benchmarks.fashion.costs import ENTROPY, GAP, METRICS, ODIN, PATE, PKNN, RDP, Priced
from benchmarks.fashion.strangers import NEAR
from calpow.archiver.calibration.fitting import (
    ROOM,
    conditional_multiples,
    excesses_of,
    fit_conditional,
    fit_paper,
    paper_multiples,
)
from calpow.archiver.calibration.rehearsal import ATTACKERS, CHEAPEST
from calpow.archiver.calibration.samples import Floats, Samples
from calpow.archiver.calibration.simulated_users import (
    PERCENTILE,
    StreamLengths,
    merge,
    simulate,
    stream_means,
    streams,
)

STREAMS = StreamLengths(10_000)
LENGTHS = (1_000, 10_000)
# Each round draws two users of every profile.
ROUNDS = 100
# Of an attacker's legitimate queries, those he knows to be cheapest.
FILLERS = 0.1
HALF, FIFTH, CHEAP, FILLED = "half of them", "one in five", "cheapest 30 %", "with two fillers"

# Mean payments over the first LENGTHS queries, in times of the unprotected latency.
Paid = tuple[float, ...]


@dataclass(frozen=True)
class Choice:
    """A policy to fit: its metrics, and whether it is the paper's."""

    name: str
    metrics: tuple[str, ...]
    paper: bool = False


DEFAULT = Choice("PATE (default)", (PATE,))
ALONE = tuple(Choice(name, (name,)) for name in METRICS if name != PATE)
PAIRS = tuple(
    Choice(" + ".join(names), names)
    for names in (
        (PATE, ENTROPY),
        (RDP, ENTROPY),
        (PATE, GAP),
        (PATE, PKNN),
        (PATE, ODIN),
        (PKNN, ENTROPY),
        (ODIN, ENTROPY),
        (PATE, PKNN, ENTROPY),
        (PATE, ODIN, ENTROPY),
    )
)
PAPER = Choice("the paper's rule on PATE", (PATE,), paper=True)
CHOICES = (DEFAULT, *ALONE, *PAIRS, PAPER)


@dataclass(frozen=True)
class PolicyFigures:
    """Payments of one seed's users under one policy, one number for each of LENGTHS.

    honest: the 99th percentile by profile.
    shifted: the same of uniform users and of the dearest profile, by shift.
    attackers: the mean by kind of stranger and by the way they are mixed, "" for strangers alone.
    """

    honest: Mapping[str, Paid]
    shifted: Mapping[str, tuple[Paid, Paid]]
    attackers: Mapping[tuple[str, str], Paid]


@dataclass(frozen=True)
class _Fitted:
    score: Callable[[Tensor, Tensor], Floats]
    multiples: Callable[[Floats], Floats]


def measure(choice: Choice, priced: Priced, seed: int) -> PolicyFigures:
    """Fit a policy, and simulate honest users and attackers under it. Raises FittingError."""
    rng = np.random.default_rng((seed, 2))
    columns = [METRICS.index(name) for name in choice.metrics]
    fitted = _fit(choice, priced.calibration, columns, priced.highest[columns], rng)
    legitimate = fitted.score(priced.fresh.costs[:, columns], priced.fresh.labels)
    honest = _honest(fitted, legitimate, priced.fresh, rng)
    shifted = {}
    for name, samples in priced.shifted.items():
        paid = _honest(fitted, fitted.score(samples.costs[:, columns], samples.labels), samples, rng)
        shifted[name] = paid["uniform"], dearest(paid)
    attackers = {}
    for name, found in priced.strangers.items():
        scores = fitted.score(found.costs[:, columns], found.labels)
        for way, pool in _ways(scores, legitimate, rng, near=name in NEAR):
            sums = streams(pool, [np.ones(len(pool))] * ATTACKERS, STREAMS, rng)
            attackers[name, way] = _times(fitted, sums).mean(axis=0)
    return PolicyFigures(honest, shifted, {key: tuple(paid.tolist()) for key, paid in attackers.items()})


def dearest(honest: Mapping[str, Paid]) -> Paid:
    """Return the most that any profile pays, at each length."""
    return tuple(map(max, zip(*honest.values(), strict=True)))


def _fit(choice: Choice, samples: Samples, columns: list[int], highest: Floats, rng: np.random.Generator) -> _Fitted:
    seen = Samples(samples.costs[:, columns], samples.labels, samples.classes, samples.groups, samples.class_names)
    if choice.paper:
        paper = fit_paper(seen, highest, STREAMS, rng).policy
        return _Fitted(
            lambda costs, _: costs[:, 0].numpy() - paper.slope, partial(paper_multiples, math.log(paper.base))
        )
    policy = fit_conditional(seen, highest, STREAMS, rng).policy
    return _Fitted(partial(excesses_of, policy), partial(conditional_multiples, policy, STREAMS.checkpoints))


def _honest(fitted: _Fitted, scores: Floats, samples: Samples, rng: np.random.Generator) -> dict[str, Paid]:
    """Return the 99th percentile of the payments by profile."""
    users = merge([simulate(scores, samples, STREAMS, rng) for _ in range(ROUNDS)])
    return {
        name: tuple(np.percentile(_times(fitted, sums), PERCENTILE, axis=0).tolist()) for name, sums in users.items()
    }


def _ways(scores: Floats, legitimate: Floats, rng: np.random.Generator, *, near: bool) -> Iterator[tuple[str, Floats]]:
    """Yield the ways in which an attacker who knows all scores may send queries of these scores."""
    yield "", scores
    if near:
        return
    n = len(scores)
    fillers = np.sort(legitimate)[: max(1, round(FILLERS * len(legitimate)))]
    yield HALF, np.concatenate([scores, rng.choice(legitimate, n)])
    yield FIFTH, np.concatenate([scores, rng.choice(legitimate, 4 * n)])
    yield CHEAP, np.sort(scores)[: max(1, round(CHEAPEST * n))]
    yield FILLED, np.concatenate([scores, rng.choice(fillers, 2 * n)])


def _times(fitted: _Fitted, sums: Floats) -> Floats:
    """Return a user's mean payments a query, `[users, lengths]`: the answer and a puzzle of a ROOM-th of its time."""
    multiples: Floats = stream_means(fitted.multiples(sums), STREAMS, LENGTHS)
    return 1 + multiples / ROOM


def measure_all(choices: tuple[Choice, ...], priced: Priced, seed: int) -> dict[str, PolicyFigures]:
    """Return the figures of all policies on one seed, by name. Raises FittingError."""
    return {
        choice.name: measure(choice, priced, seed)
        for choice in tqdm(choices, f"policies, seed {seed}", unit="policy", disable=None)
    }
