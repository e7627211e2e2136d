"""Extraction attacks: the queries that a thief sends to copy a victim."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.range.cache import DataMissing
from benchmarks.range.copies.augmentation import augmented
from benchmarks.range.domain import InputKind, RangeDomain, StrangerMaker
from benchmarks.range.strangers.altered import sample
from benchmarks.range.trials.stealing import is_derived
from calpow.archiver.progress import announce

FEW = (50, 200)
GENUINE, WORST_IN, WORST_OUT = "genuine inputs", "WorstCase, in distribution", "WorstCase, out of distribution"
# Candidates for a query, of which some may be repetitions.
SPARE = 1.1
# Strangers of all kinds, of which those are sent that are least odd.
WORST_OF = 15_000
# Domains whose images keep their class when they are mirrored.
MIRRORED = frozenset({"fashion", "cifar10"})
# Kinds that make one query of an owned image.
ONE_EACH = frozenset({"edges", "inverted", "upside down"})
# Kinds that differ little from others of the table.
LEFT_OUT = frozenset({"rotated", "black and white"})


@dataclass(frozen=True)
class ExtractionAttack:
    """A way to choose queries.

    candidates: (count) -> queries [n, ...] to choose from, which may be fewer or more.
    cheapest_first: whether the thief knows the evidence of each candidate and sends the least odd ones first (WorstCase
    in section 4.2 of the paper); else they are sent in the order of the candidates.
    is_stranger: whether they share nothing with legitimate inputs.
    """

    name: str
    candidates: Callable[[int], Tensor]
    cheapest_first: bool = False
    is_stranger: bool = False

    def queries(self, count: int) -> Tensor:
        """Return candidates, each once; as many as `count` unless the order is chosen by their scores."""
        found = distinct(self.candidates(round(SPARE * count)))
        return found if self.cheapest_first else found[:count]


def extraction_attacks(domain: RangeDomain, owned: Tensor, seed: int) -> Iterator[ExtractionAttack]:
    """Yield the attacks on a domain by a thief who owns these genuine inputs."""

    def drawn(name: str, make: StrangerMaker) -> Callable[[int], Tensor]:
        return lambda count: make(owned, count, np.random.default_rng((seed, zlib.crc32(name.encode()))))

    def strangers(name: str) -> Callable[[int], Tensor]:
        return lambda count: domain.stranger_queries(
            name, owned, seed, min(count, len(owned)) if name in ONE_EACH else count
        )

    own = [name for name in domain.strangers if not is_derived(domain, name)]
    yield ExtractionAttack(GENUINE, lambda count: owned[:count])
    yield ExtractionAttack(WORST_IN, lambda _: owned, cheapest_first=True)
    for genuine in FEW:
        name = f"{genuine} genuine inputs, augmented"
        yield ExtractionAttack(name, drawn(name, augmented(genuine, domain.kind, flips=domain.name in MIRRORED)))
    if domain.kind is InputKind.TABLE:
        yield ExtractionAttack("mixup", drawn("mixup", mixed_rows))
    for name in domain.strangers:
        if name not in own and name not in LEFT_OUT:
            yield ExtractionAttack(name, strangers(name))
    yield ExtractionAttack(WORST_OUT, lambda _: _all_kinds(own, strangers), cheapest_first=True)
    for name in own:
        yield ExtractionAttack(name, strangers(name), is_stranger=True)


def mixed_rows(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return means of two rows."""
    return (sample(owned, count, rng) + sample(owned, count, rng)) / 2


def distinct(queries: Tensor) -> Tensor:
    """Return the queries in their order without repetitions: a repeated query yields no other answer."""
    first = {row.tobytes(): place for place, row in reversed(list(enumerate(queries.numpy())))}
    return queries[sorted(first.values())]


def _all_kinds(own: list[str], strangers: Callable[[str], Callable[[int], Tensor]]) -> Tensor:
    """Return WORST_OF strangers, as many of every kind that is on this machine."""
    found = []
    for name in own:
        try:
            found.append(strangers(name)(WORST_OF // len(own)))
        except DataMissing as problem:
            announce(f"{name} left out: {problem}")
    return torch.cat(found)
