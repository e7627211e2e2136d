"""Costs of attacks' queries by the paper's other scores (its Table 3): gap, entropy and private kNN, one by one.

Each score is summed and priced by the paper's rule, fitted to the same calibration inputs. A query that was answered
before costs what it cost then: the paper knows no repetitions.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.paper_attacks import paper_attacks
from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS
from benchmarks.attacks.thefts.score_files import SCORES, ScoreCosts, ScorePoint, honest_point
from benchmarks.attacks.thief import thief_of
from benchmarks.range.cache import folder, whole_file
from benchmarks.range.domain import RangeDomain
from benchmarks.range.trials.keys import source_key
from benchmarks.range.trials.policies import CAP, FittedPolicy
from benchmarks.range.trials.protection import teachers_file
from benchmarks.range.trials.scored_sets import ScoredDomain
from benchmarks.range.victims import QUERY_BATCH
from benchmarks.results.origin import checked_out
from calpow.archiver.calibration.calibrator import CLASS_MIX_BUDGET
from calpow.archiver.calibration.policy_fit.paper_fit import QUERIES, FittedPaper, fit_paper, paper_multiples
from calpow.archiver.calibration.samples import Floats, Samples
from calpow.archiver.calibration.score_setup import score_specs
from calpow.archiver.progress import announce
from calpow.archiver.teachers.vote_noise import vote_settings
from calpow.handler.leakage.batches import features_of
from calpow.handler.leakage.meter import Artefacts, Meter, make_meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.neighbours import SCHEMA, Neighbours, NeighboursCard
from calpow.handler.leakage.recording import Recorder
from calpow.handler.leakage.specs import ScoreName, Settings
from calpow.handler.leakage.tapping import find_features
from calpow.handler.leakage.teachers.ensemble import Ensemble

# Nearest training points that vote, as many as the paper has teachers.
NEAREST = 250
# Points of an attack at which its sums are kept.
POINTS = 20
_SCORED_BY = (
    *(f"benchmarks/attacks/{name}.py" for name in ("gated_victim", "thief", "other_scores")),
    *(f"benchmarks/range/{name}.py" for name in ("copies/copying", "victims", "shifts", "strangers/foreign")),
    "archiver/calibration/policy_fit/paper_fit.py",
)


class ScoredVictim(GatedVictim):
    """A gated victim that keeps what its queries cost by every score."""

    def __init__(self, domain: RangeDomain, scored: ScoredDomain, policy: FittedPolicy, meter: Meter) -> None:
        super().__init__(domain, scored, policy)
        self._meter = meter
        self._costs: list[Floats] = []

    @property
    def costs(self) -> Floats:
        """The costs of all queries so far, [n, SCORES]."""
        return np.concatenate(self._costs)

    def probabilities(self, queries: Tensor) -> Tensor:
        """Charge the queries [n, ...] and return the victim's probabilities [n, classes]."""
        if len(queries):
            self._costs.append(score(self._meter, queries))
        return super().probabilities(queries)


class ScoreTrial:
    """One division: its meter, and the paper's rule fitted to the calibration half by every score."""

    def __init__(self, domain: RangeDomain, seed: int, scored: ScoredDomain, policy: FittedPolicy) -> None:
        self._domain = domain
        self._seed = seed
        self._scored = scored
        self._policy = policy
        self._halves = domain.halves(seed)
        self._meter = make_paper_meter(domain, scored)
        self._rules = dict(zip(SCORES, self._fitted(), strict=True))

    def costs(self, attacks: Sequence[str], answers: int) -> ScoreCosts:
        """Return what attacks by name cost up to a number of answers."""
        return ScoreCosts(
            domain=self._domain.name,
            seed=self._seed,
            commit=checked_out(),
            bases={name: fit.policy.base for name, fit in self._rules.items()},
            points=(self._honest(), *(point for name in attacks for point in self._points(name, answers))),
        )

    def _fitted(self) -> Iterator[FittedPaper]:
        """Yield the paper's rule by each score."""
        calibration = self._halves.calibration
        labels = self._scored.calibration.scored.labels.numpy()
        groups = np.arange(len(calibration))
        for column in score(self._meter, calibration.inputs).T:
            samples = Samples.of_arrays(
                column[:, None], labels, calibration.labels.numpy(), groups, tuple(self._domain.classes)
            )
            yield fit_paper(samples, CLASS_MIX_BUDGET, CAP, np.random.default_rng(self._seed))

    def _honest(self) -> ScorePoint:
        """Return the point of a legitimate user with as many queries as the rule is fitted to."""
        sums = {name: fit.policy.slope * QUERIES for name, fit in self._rules.items()}
        return honest_point(QUERIES, sums, {name: fit.payment for name, fit in self._rules.items()})

    def _points(self, name: str, answers: int) -> list[ScorePoint]:
        """Return the points of an attack, from the cache if they are there."""
        attack = paper_attacks(self._domain.name)[name]
        key = source_key((*_SCORED_BY, f"benchmarks/attacks/{attack.module}.py"), self._scored.key)
        path = folder() / "attacks" / f"{self._domain.name}-{self._seed}" / f"costs-{name}-{answers}-{key}.json"
        if not path.is_file():
            announce(f"{self._domain.name} {self._seed}, costs of {ATTACK_KINDS[name].row}: {answers:,} answers")
            victim = ScoredVictim(self._domain, self._scored, self._policy, self._meter)
            attack.run(thief_of(self._domain, self._halves.fresh.inputs, self._seed), victim, answers)
            points = list(self._priced(name, victim.costs))
            with whole_file(path) as scratch:
                scratch.write_text(json.dumps([dataclasses.asdict(point) for point in points], indent=1))
        return [ScorePoint(**point) for point in json.loads(path.read_text())]

    def _priced(self, name: str, costs: Floats) -> Iterator[ScorePoint]:
        """Yield points along queries of costs [n, SCORES]."""
        sums = costs.cumsum(axis=0)
        means = np.column_stack(
            [self._mean_prices(fit, costs[:, place]) for place, fit in enumerate(self._rules.values())]
        )
        for last in np.unique(np.linspace(0, len(costs), POINTS + 1).round().astype(int)[1:]):
            yield ScorePoint(
                attack=name,
                answers=int(last),
                sums=dict(zip(SCORES, sums[last - 1].tolist(), strict=True)),
                floors=dict(zip(SCORES, means[last - 1].tolist(), strict=True)),
            )

    @staticmethod
    def _mean_prices(fit: FittedPaper, costs: Floats) -> Floats:
        """Return the mean price of an answer after each query, [n], in floors."""
        distances = np.cumsum(costs - fit.policy.slope)
        prices = paper_multiples(math.log(fit.policy.base), distances, CAP)
        means: Floats = np.cumsum(prices) / np.arange(1, len(prices) + 1)
        return means


def make_paper_meter(domain: RangeDomain, scored: ScoredDomain) -> Meter:
    """Return the meter of SCORES on a domain's victim."""
    recorder, setup = Recorder(domain.victim), scored.setup
    find_features(recorder, ModelInputs.of(domain.training.inputs[:1]))
    neighbours = _neighbours(domain, recorder)
    artefacts = Artefacts(Ensemble.load(teachers_file(domain)), neighbours)
    assert artefacts.ensemble is not None
    voters = {ScoreName.pknn: neighbours.card.k, ScoreName.pate: artefacts.ensemble.card.teachers}

    def settings(name: ScoreName) -> Settings:
        return vote_settings(voters[name], None) if name in voters else {}

    specs = score_specs(SCORES, artefacts, settings)
    return make_meter(recorder, setup.shape, setup.output, specs, setup.input_range, artefacts)


def score(meter: Meter, inputs: Tensor) -> Floats:
    """Return the costs [n, SCORES] of inputs [n, ...], asked in batches."""
    parts = [meter.price(part.contiguous()).costs for part in torch.split(inputs.detach(), QUERY_BATCH)]
    costs: Floats = torch.cat(parts).double().numpy()
    return costs


def _neighbours(domain: RangeDomain, recorder: Recorder) -> Neighbours:
    """Return the victim's features of its training data, as `calpow neighbours` keeps them."""
    parts = [features_of(recorder.ask(part), len(part)) for part in torch.split(domain.training.inputs, QUERY_BATCH)]
    features, nearest = torch.cat(parts), min(NEAREST, len(domain.training))
    card = NeighboursCard(SCHEMA, domain.classes, len(features), features.shape[1], nearest, "")
    return Neighbours(card, features, domain.training.labels)
