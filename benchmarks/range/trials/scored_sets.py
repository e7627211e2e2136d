"""Scores of every set of a domain and a seed, computed once and kept in the cache."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.range.cache import DataMissing, folder, whole_file
from benchmarks.range.domain import Halves, RangeDomain
from benchmarks.range.trials import near_copies
from benchmarks.range.trials.keys import source_key
from benchmarks.range.trials.protection import protect, reference_inputs, teachers_file
from benchmarks.range.victims import QUERY_BATCH
from calpow.archiver.calibration.near_copies import near_copy_bits
from calpow.archiver.calibration.samples import Ints
from calpow.archiver.calibration.score_setup import ScoreSetup, reference_attacks
from calpow.archiver.calibration.synthetic_inputs.attackers import ATTACKS
from calpow.archiver.calibration.synthetic_inputs.legitimate_values import LegitimateInputs
from calpow.archiver.calibration.synthetic_inputs.tolerances import (
    TOLERANCES,
    default_tolerances,
    is_harmless,
    tolerances_for,
)
from calpow.archiver.progress import announce, track
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.leakage.sketches import Sketcher, Sketches

# Owned payloads whose near-copies a thief tries as fillers.
COPIED = 3
COPIES = 2_000
_SCORED_BY = (
    *(f"handler/leakage/{name}" for name in ("scores", "gnmax", "batches.py", "taps", "meter.py")),
    *(f"handler/leakage/{name}" for name in ("input_range.py", "sketches.py")),
    "benchmarks/range/shifts.py",
    "benchmarks/range/trials/near_copies.py",
)
_CALIBRATED_BY = ("archiver/calibration/synthetic_inputs", "archiver/calibration/score_setup.py")
_STRANGERS_BY = ("benchmarks/range/strangers", "benchmarks/range/domain.py")


@dataclass(frozen=True)
class ScoredSet:
    """Scores and answers of n inputs, and their sketches uint8 [n, b]."""

    scored: ScoredSamples
    sketches: Sketches

    def __len__(self) -> int:
        return len(self.scored.labels)


@dataclass(frozen=True)
class ScoredDomain:
    """Everything that is scored of a domain and a seed.

    tolerated, shifts: of the same samples in the same order as `calibration` and `fresh`.
    copies: near-copies of some fresh inputs, by the change that makes them and the number of the input.
    likeness: the number of bits in which their sketches may differ. key: of the code and the inputs of all sets.
    """

    setup: ScoreSetup
    calibration: ScoredSet
    calibration_classes: Ints
    tolerated: Mapping[str, ScoredSet]
    attacks: Mapping[str, ScoredSet]
    fresh: ScoredSet
    fresh_classes: Ints
    shifts: Mapping[str, ScoredSet]
    strangers: Mapping[str, ScoredSet]
    copies: Mapping[str, ScoredSet]
    likeness: int
    key: str

    @property
    def own_data(self) -> frozenset[str]:
        """Reference attackers who bring queries of their own."""
        return frozenset(name for name in self.attacks if ATTACKS[name].own_data)


Groups = Mapping[str, ScoredSet]


def score_domain(domain: RangeDomain, seed: int) -> ScoredDomain:
    """Return the scores of all sets of a domain and a seed, from the cache as far as they are there."""
    halves = domain.halves(seed)
    reference = reference_inputs(halves.calibration.inputs, seed)
    setup = protect(domain, reference)
    teachers = teachers_file(domain).stem
    scorer = _Scorer(domain, seed, halves, setup, reference)
    keys = {
        "calibration": source_key((*_SCORED_BY, *_CALIBRATED_BY), teachers, seed),
        "attacks": source_key((*_SCORED_BY, *_CALIBRATED_BY), teachers, seed),
        "fresh": source_key(_SCORED_BY, teachers, seed),
        "strangers": source_key((*_SCORED_BY, *_STRANGERS_BY), teachers, seed),
        "copies": source_key(_SCORED_BY, teachers, seed),
    }
    groups = {
        name: _cached(folder() / "scores" / f"{domain.name}-{seed}" / f"{name}-{key}.npz", make)
        for (name, key), make in zip(
            keys.items(),
            (scorer.calibration, scorer.attacks, scorer.fresh, scorer.strangers, scorer.copies),
            strict=True,
        )
    }
    return ScoredDomain(
        setup=setup,
        calibration=groups["calibration"][""],
        calibration_classes=halves.calibration.labels.numpy(),
        tolerated={name: scored for name, scored in groups["calibration"].items() if name},
        attacks=groups["attacks"],
        fresh=groups["fresh"][""],
        fresh_classes=halves.fresh.labels.numpy(),
        shifts={name: scored for name, scored in groups["fresh"].items() if name},
        strangers=groups["strangers"],
        copies=groups["copies"],
        likeness=near_copy_bits([setup.meter.recorder.ask(reference)], setup),
        key=source_key((), *keys.values()),
    )


def score_inputs(setup: ScoreSetup, inputs: Tensor) -> ScoredSet:
    """Return the scores of inputs [n, ...], asked in batches."""
    parts = [setup.meter.price(part) for part in torch.split(inputs, QUERY_BATCH)]
    scored = ScoredSamples(torch.cat([part.costs for part in parts]), torch.cat([part.labels for part in parts]))
    return ScoredSet(scored, Sketcher(setup.input_range).sketches(inputs))


def chosen_tolerances(domain: RangeDomain, scored: ScoredDomain) -> tuple[str, ...]:
    """Return the changes that a calibration tolerates by default: those that cost the victim few right answers."""
    answers = scored.calibration.scored.labels.numpy()
    return tuple(
        name
        for name in default_tolerances(scored.setup.shape.input_shape, domain.test.inputs.dtype)
        if is_harmless(name, answers, scored.tolerated[name].scored.labels.numpy(), scored.calibration_classes)
    )


class _Scorer:
    """Makes the sets of a domain and a seed, and scores them."""

    def __init__(self, domain: RangeDomain, seed: int, halves: Halves, setup: ScoreSetup, reference: Tensor) -> None:
        self._domain = domain
        self._seed = seed
        self._halves = halves
        self._setup = setup
        self._reference = reference

    def calibration(self) -> Groups:
        """Return the calibration half, and after every change that could be tolerated."""
        inputs = self._halves.calibration.inputs
        known = LegitimateInputs.of([ModelInputs.of(self._reference)])
        sets = {"": self._score(inputs)}
        suitable = tolerances_for(tuple(inputs.shape[1:]), inputs.dtype)
        for name in track(suitable, f"{self._domain.name} {self._seed}, tolerances", "change"):
            generator = torch.Generator().manual_seed(self._seed)
            changed = known.changed(ModelInputs.of(inputs), TOLERANCES[name].change, generator)
            sets[name] = self._score(changed.tensors[0])
        return sets

    def attacks(self) -> Groups:
        """Return the queries of the reference attackers; they have no sketches."""
        attacks = reference_attacks([self._setup.meter.recorder.ask(self._reference)], self._setup, self._seed)
        return {
            name: ScoredSet(scored, np.empty((len(scored.labels), 0), np.uint8)) for name, scored in attacks.items()
        }

    def fresh(self) -> Groups:
        """Return the fresh half, and under every shift."""
        inputs = self._halves.fresh.inputs
        sets = {"": self._score(inputs)}
        for name in track(self._domain.shifts, f"{self._domain.name} {self._seed}, shifts", "shift"):
            sets[name] = self._score(self._domain.shifted(name, inputs, self._seed))
        return sets

    def strangers(self) -> Groups:
        """Return the strangers of every kind whose data are on this machine."""
        sets = {}
        for name in track(self._domain.strangers, f"{self._domain.name} {self._seed}, strangers", "kind"):
            try:
                queries = self._domain.stranger_queries(name, self._halves.fresh.inputs, self._seed)
            except DataMissing as problem:
                announce(f"{name} left out: {problem}")
                continue
            sets[name] = self._score(queries)
        return sets

    def copies(self) -> Groups:
        """Return near-copies of some fresh inputs."""
        rng = np.random.default_rng(self._seed)
        chosen = rng.choice(len(self._halves.fresh), COPIED, replace=False)
        changes = near_copies.changes(self._domain.kind)
        return {
            f"{name} of {number}": self._score(change(self._halves.fresh.inputs[place], COPIES, rng))
            for number, place in enumerate(chosen)
            for name, change in changes.items()
        }

    def _score(self, inputs: Tensor) -> ScoredSet:
        return score_inputs(self._setup, inputs)


def _cached(path: Path, make: Callable[[], Groups]) -> Groups:
    if not path.is_file():
        sets = make()
        arrays = {
            f"{part}/{name}": array
            for name, scored in sets.items()
            for part, array in (
                ("costs", scored.scored.costs.numpy()),
                ("labels", scored.scored.labels.numpy()),
                ("sketches", scored.sketches),
            )
        }
        with whole_file(path) as scratch, scratch.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's own
    with np.load(path) as stored:
        names = [name.partition("/")[2] for name in stored.files if name.startswith("costs/")]
        return {
            name: ScoredSet(
                ScoredSamples(torch.from_numpy(stored[f"costs/{name}"]), torch.from_numpy(stored[f"labels/{name}"])),
                stored[f"sketches/{name}"],
            )
            for name in names
        }
