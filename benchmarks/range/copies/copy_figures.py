"""The quality of copies by attack and number of answers, and the price of their answers; stored as JSON."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.range.cache import DataMissing, folder, whole_file
from benchmarks.range.copies.copying import copy_of, quality
from benchmarks.range.copies.extraction_attacks import ExtractionAttack, extraction_attacks
from benchmarks.range.domain import Halves, RangeDomain
from benchmarks.range.trials.keys import source_key
from benchmarks.range.trials.policies import EVIDENCE, FittedPolicy, fit_policy
from benchmarks.range.trials.scored_sets import ScoredDomain, chosen_tolerances, score_domain, score_inputs
from benchmarks.range.trials.stealing import best_cycle, price_alone
from benchmarks.range.victims import accuracy
from calpow.archiver.progress import announce, track

ANSWERS = (1_000, 5_000)
_COPIED_BY = (
    *(f"benchmarks/range/{name}" for name in ("copies", "domains", "strangers", "victims.py")),
    *(f"benchmarks/range/trials/{name}.py" for name in ("policies", "scored_sets", "stealing")),
)


@dataclass(frozen=True)
class CopyFigures:
    """The copy that an attack yields.

    answers: number of stolen answers. alone: their mean price in floors, where one account sends nothing else.
    theft: what one costs at the best number of honest fillers for each, which is `fillers`.
    """

    attack: str
    is_stranger: bool
    answers: int
    accuracy: float
    fidelity: float
    alone: float
    theft: float
    fillers: int


@dataclass(frozen=True)
class DomainCopies:
    """All copies of a domain's victim, and the victim's own accuracy on the same inputs."""

    domain: str
    seed: int
    victim: float
    held_out: int
    owned: int
    copies: tuple[CopyFigures, ...]


def domain_copies(domain: RangeDomain, seed: int) -> DomainCopies:
    """Return the copies of a domain's victim, of the division `seed`, from the cache as far as they are there."""
    trial = _Trial(domain, seed)
    attacks = tuple(extraction_attacks(domain, trial.halves.fresh.inputs, seed))
    copies: list[CopyFigures] = []
    for attack in track(attacks, f"{domain.name}, copies", "attack"):
        try:
            copies += trial.copies(attack, ANSWERS[:1] if attack.is_stranger else ANSWERS)
        except DataMissing as problem:
            announce(f"{attack.name} left out: {problem}")
    best = max((copy for copy in copies if copy.is_stranger), key=lambda copy: copy.accuracy)
    copies += trial.copies(next(attack for attack in attacks if attack.name == best.attack), ANSWERS[1:])
    held_out = trial.halves.calibration
    return DomainCopies(
        domain=domain.name,
        seed=seed,
        victim=accuracy(domain.victim, held_out),
        held_out=len(held_out),
        owned=len(trial.halves.fresh),
        copies=tuple(copies),
    )


class _Trial:
    """One division: the thief owns the fresh half, the copies are tried on the calibration half."""

    halves: Halves

    def __init__(self, domain: RangeDomain, seed: int) -> None:
        self._domain = domain
        self._seed = seed
        self.halves = domain.halves(seed)
        self._scored: ScoredDomain = score_domain(domain, seed)
        tolerated = chosen_tolerances(domain, self._scored)
        self._policy: FittedPolicy = fit_policy(domain.name, seed, self._scored, domain.classes, tolerated, EVIDENCE)
        self._honest = self._policy.pool(self._scored.fresh)
        self._key = source_key(_COPIED_BY, self._scored.key, tolerated, self._policy.described())

    def copies(self, attack: ExtractionAttack, counts: Sequence[int]) -> Iterator[CopyFigures]:
        """Yield the copy for each number of answers, up to the first that the attack has too few queries for."""
        for count in counts:
            path = folder() / "copies" / f"{self._domain.name}-{self._seed}-{self._key}" / f"{attack.name}-{count}.json"
            if not path.is_file():
                figures = self._measured(attack, count)
                with whole_file(path) as scratch:
                    scratch.write_text(json.dumps(dataclasses.asdict(figures), indent=1))
            found = CopyFigures(**json.loads(path.read_text()))
            yield found
            if found.answers < count:
                return

    def _measured(self, attack: ExtractionAttack, count: int) -> CopyFigures:
        queries, rng = attack.queries(count), np.random.default_rng(self._seed)
        pool = self._policy.pool(score_inputs(self._scored.setup, queries))
        if attack.cheapest_first:
            order = np.argsort(self._policy.oddness(pool), kind="stable")[:count]
            queries, pool = queries[order], pool.take(order)
        near = self._policy.near(pool)
        theft, fillers, _ = best_cycle(self._policy, pool, self._honest, rng, near)
        copied = quality(copy_of(self._domain, queries, self._seed), self._domain.victim, self.halves.calibration)
        return CopyFigures(
            attack=attack.name,
            is_stranger=attack.is_stranger,
            answers=len(queries),
            accuracy=copied.accuracy,
            fidelity=copied.fidelity,
            alone=price_alone(self._policy, pool, near),
            theft=theft,
            fillers=fillers,
        )
