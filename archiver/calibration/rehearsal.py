"""Rehearsal of a fitted policy with simulated legitimate users and attackers: the evidence of a calibration."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from calpow.archiver.calibration.calibration_document import Band, RehearsalEvidence, Role, SimulatedProfile
from calpow.archiver.calibration.samples import Floats, Samples
from calpow.archiver.calibration.simulated_users import StreamLengths, Users, stream_sums, streams
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.policy.policies import Standard

ATTACKERS = 100
# The share of strangers' queries, the cheapest, that an attacker sends who knows how prices are computed.
CHEAPEST = 0.3
# Attackers whose queries are not mixed with legitimate ones.
NO_STRANGERS = frozenset({"perturbed", "scaled"})
MIXTURES = {"half strangers, half legitimate": 1, "one stranger in five": 4}

FEW_SAMPLES = 100
WEAK_VOTE = 0.5
# An AUROC of 0.5 is chance.
SEPARATES = 0.6


@dataclass(frozen=True)
class RehearsedPolicy:
    """A fitted policy as the rehearsal needs it.

    score: maps costs `[n, scores]` and labels `[n]` to what each sample adds to an account, `[n]`. multiples: maps
    summed scores at the checkpoints, `[users, checkpoints]`, to the price of a query in floors.
    """

    score_name: str
    score: Callable[[Tensor, Tensor], Floats]
    multiples: Callable[[Floats], Floats]
    standards: Sequence[Standard]
    metrics: Sequence[str]


@dataclass(frozen=True)
class QueryTimes:
    """Seconds per query: unprotected latency, time added by the gate, and solving time of the least puzzle."""

    latency: float
    added: float
    floor: float


@dataclass(frozen=True)
class RehearsalInputs:
    """Legitimate users' summed scores by profile, legitimate samples, and each attacker's priced queries."""

    users: Users
    legitimate: Samples
    attacks: Mapping[str, ScoredSamples]
    lengths: StreamLengths
    times: QueryTimes


def rehearse(
    policy: RehearsedPolicy, inputs: RehearsalInputs, rng: np.random.Generator
) -> tuple[SimulatedProfile, ...]:
    """Return profiles of legitimate users, of each attacker, and of attackers who mix or choose strangers' queries."""
    profiles = [
        _profile(name, Role.legitimate, _drawn_from(inputs, name), sums, policy, inputs)
        for name, sums in inputs.users.items()
    ]
    strangers = []
    for name, priced in inputs.attacks.items():
        scores = policy.score(priced.costs, priced.labels)
        profiles.append(_attacker(name, scores, policy, inputs, rng, _auroc(priced, policy, inputs.legitimate)))
        strangers += [] if name in NO_STRANGERS else [scores]
    pool = np.concatenate(strangers)
    honest = policy.score(inputs.legitimate.costs, inputs.legitimate.labels)
    cheapest = np.sort(pool)[: max(1, round(CHEAPEST * len(pool)))]
    profiles.append(_attacker(f"cheapest {CHEAPEST:.0%} of strangers", cheapest, policy, inputs, rng, {}))
    for name, share in MIXTURES.items():
        mixed = np.concatenate([pool, rng.choice(honest, share * len(pool))])
        profiles.append(_attacker(name, mixed, policy, inputs, rng, {}))
    return tuple(profiles)


def warnings(evidence: RehearsalEvidence, inputs: RehearsalInputs, *, with_teachers: bool) -> list[str]:
    """Return what an owner should know before deploying, one sentence each."""
    found = []
    legitimate, times = inputs.legitimate, inputs.times
    counts = legitimate.groups_per_class()
    fewest = counts.index(min(counts))
    if counts[fewest] < FEW_SAMPLES:
        found.append(
            f"Class {legitimate.class_names[fewest]} has only {counts[fewest]} independent samples: with"
            f" {FEW_SAMPLES} or more of each class, attackers can hide less."
        )
    if with_teachers and evidence.vote_accuracy < WEAK_VOTE:
        found.append(f"The teachers' vote is right in {evidence.vote_accuracy:.0%} only: give them more data.")
    if times.latency + times.added + times.floor > evidence.overhead_budget * times.latency:
        found.append(_over_budget(evidence.overhead_budget, times))
    return found + _metric_warnings(evidence)


def _over_budget(budget: float, times: QueryTimes) -> str:
    """Return the warning for a model so fast that the budget cannot be kept, with what would lower the overhead."""
    whole = times.latency + times.added + times.floor
    if times.floor > times.added:
        remedy = "most of that is the puzzle, which another --puzzle may lower"
    else:
        remedy = "several samples a request share the gate's time, and prepaying clients do not wait for the puzzle"
    return (
        f"The overhead budget of {budget:g} cannot be kept for a model this fast: an honest user's answer takes"
        f" {1e3 * whole:.1f} ms instead of {1e3 * times.latency:.1f} ms, {whole / times.latency:.1f} times its time:"
        f" {1e3 * times.added:.1f} ms for pricing and accounting, {1e3 * times.floor:.1f} ms for the least puzzle;"
        f" {remedy}; --overhead-budget {math.ceil(whole / times.latency)} says that this is meant."
    )


def _metric_warnings(evidence: RehearsalEvidence) -> list[str]:
    found = []
    attackers = evidence.attackers
    for metric in dict.fromkeys(name for each in attackers for name in each.auroc):
        best = max(each.auroc[metric] for each in attackers if metric in each.auroc)
        if best < SEPARATES:
            found.append(f"Metric {metric} tells no attacker from legitimate users: take another.")
    return found


def _drawn_from(inputs: RehearsalInputs, profile: str) -> int:
    """Return the number of different samples that a profile's users send."""
    names = [f"class {name}" for name in inputs.legitimate.class_names]
    if profile not in names:
        return len(inputs.legitimate.costs)
    return int((inputs.legitimate.classes == names.index(profile)).sum())


def _attacker(
    name: str,
    scores: Floats,
    policy: RehearsedPolicy,
    inputs: RehearsalInputs,
    rng: np.random.Generator,
    auroc: Mapping[str, float],
) -> SimulatedProfile:
    sums = streams(scores, [np.ones(len(scores))] * ATTACKERS, inputs.lengths, rng)
    return _profile(name, Role.attacker, len(scores), sums, policy, inputs, auroc)


def _profile(
    name: str,
    role: Role,
    samples: int,
    sums: Floats,
    policy: RehearsedPolicy,
    inputs: RehearsalInputs,
    auroc: Mapping[str, float] | None = None,
) -> SimulatedProfile:
    work = stream_sums(policy.multiples(sums), inputs.lengths)
    times = inputs.times
    mean = work[:, -1] / inputs.lengths.horizon
    overhead = (times.latency + times.added + times.floor * mean) / times.latency
    return SimulatedProfile(
        name=name,
        role=role,
        samples=samples,
        score=_band(sums),
        work=_band(work),
        overhead=tuple(np.percentile(overhead, range(101)).tolist()),
        auroc=auroc or {},
    )


def _band(values: Floats) -> Band:
    low, middle, high = np.percentile(values, (1, 50, 99), axis=0).tolist()
    return Band(tuple(low), tuple(middle), tuple(high))


def _auroc(priced: ScoredSamples, policy: RehearsedPolicy, legitimate: Samples) -> dict[str, float]:
    """Return each score's AUROC, standardised by class, for the attacker's queries against legitimate ones."""
    truth = np.repeat([1, 0], [len(priced.costs), len(legitimate.costs)])
    costs = torch.cat([priced.costs, legitimate.costs]).numpy()
    labels = torch.cat([priced.labels, legitimate.labels]).numpy()
    found = {}
    for name, column, standard in zip(policy.metrics, costs.T, policy.standards, strict=True):
        scores = (column - np.array(standard.means)[labels]) / np.array(standard.deviations)[labels]
        found[name] = float(roc_auc_score(truth, scores))
    return found
