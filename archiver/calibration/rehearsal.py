"""How legitimate users and attackers fare under a fitted policy: the evidence of a calibration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from calpow.archiver.calibration.simulated_users import Course, Floats, Ints, Samples, Users, stream_sums, streams
from calpow.handler.leakage.score import Priced
from calpow.handler.policy.policies import Standard
from calpow.handler.policy.rehearsal_evidence import Band, Evidence, Profile, Role

ATTACKERS = 100
# For attackers who know how the price is made: strangers' cheapest queries, or strangers hidden among legitimate ones.
CHEAPEST = 0.3
# Made of legitimate queries, and nothing that hides among them.
NO_STRANGERS = frozenset({"perturbed", "scaled"})
MIXTURES = {"half strangers, half legitimate": 1, "one stranger in five": 4}

# A thief should pay this many floors at the horizon, the paper's "more than 100x for most attackers".
AIM = 100.0
FEW_SAMPLES = 100
WEAK_VOTE = 0.5
# An AUROC of 0.5 is chance.
SEPARATES = 0.6


@dataclass(frozen=True)
class Rule:
    """A fitted policy as the rehearsal needs it.

    score: what each of `costs` `[n, metrics]` with its `labels` adds to an account, `[n]`. multiples: what a query
    costs in floors at the checkpoints, from summed scores there `[users, checkpoints]`.
    """

    score_name: str
    score: Callable[[Floats, Ints], Floats]
    multiples: Callable[[Floats], Floats]
    standards: Sequence[Standard]
    metrics: Sequence[str]


@dataclass(frozen=True)
class Clock:
    """Seconds a query takes: unprotected, what the gate adds, and the least puzzle."""

    latency: float
    added: float
    floor: float


@dataclass(frozen=True)
class Stage:
    """What is given to a rehearsal: legitimate users' summed scores by profile, samples, attackers' priced queries."""

    users: Users
    legitimate: Samples
    attacks: Mapping[str, Priced]
    course: Course
    clock: Clock


def rehearse(rule: Rule, stage: Stage, rng: np.random.Generator) -> tuple[Profile, ...]:
    """Profiles of legitimate users, of each attacker, and of attackers who hide among or choose the cheapest."""
    profiles = [
        _profile(name, Role.legitimate, _drawn_from(stage, name), sums, rule, stage)
        for name, sums in stage.users.items()
    ]
    strangers = []
    for name, priced in stage.attacks.items():
        scores = rule.score(priced.costs.numpy(), priced.labels.numpy())
        profiles.append(_attacker(name, scores, rule, stage, rng, _auroc(priced, rule, stage.legitimate)))
        strangers += [] if name in NO_STRANGERS else [scores]
    pool = np.concatenate(strangers)
    honest = rule.score(stage.legitimate.costs, stage.legitimate.labels)
    cheapest = np.sort(pool)[: max(1, round(CHEAPEST * len(pool)))]
    profiles.append(_attacker(f"cheapest {CHEAPEST:.0%} of strangers", cheapest, rule, stage, rng, {}))
    for name, share in MIXTURES.items():
        mixed = np.concatenate([pool, rng.choice(honest, share * len(pool))])
        profiles.append(_attacker(name, mixed, rule, stage, rng, {}))
    return tuple(profiles)


def warnings(evidence: Evidence, stage: Stage, *, with_teachers: bool) -> list[str]:
    """What an owner should know before he deploys, one sentence each."""
    found = []
    legitimate, clock = stage.legitimate, stage.clock
    counts = legitimate.groups_per_class()
    fewest = int(counts.argmin())
    if counts[fewest] < FEW_SAMPLES:
        found.append(
            f"Class {legitimate.class_names[fewest]} has only {counts[fewest]} independent samples: with"
            f" {FEW_SAMPLES} or more of each class, attackers can hide less."
        )
    if with_teachers and evidence.vote_accuracy < WEAK_VOTE:
        found.append(f"The teachers' vote is right in {evidence.vote_accuracy:.0%} only: give them more data.")
    if clock.latency + clock.added + clock.floor > evidence.overhead_budget * clock.latency:
        least = (clock.latency + clock.added + clock.floor) / clock.latency
        found.append(
            f"The overhead budget of {evidence.overhead_budget:g} cannot be kept for a model this fast: pricing,"
            f" accounting and the least puzzle bring an answer to {least:.1f} times its time."
        )
    return found + _attack_warnings(evidence)


def _attack_warnings(evidence: Evidence) -> list[str]:
    found = []
    attackers = [each for each in evidence.profiles if each.role is Role.attacker]
    cheap = [each.name for each in attackers if each.work.middle[-1] < AIM * evidence.checkpoints[-1]]
    if cheap:
        found.append(f"These attackers pay less than {AIM:g} times the floor: {'; '.join(cheap)}.")
    for metric in dict.fromkeys(name for each in attackers for name in each.auroc):
        best = max(each.auroc[metric] for each in attackers if metric in each.auroc)
        if best < SEPARATES:
            found.append(f"Metric {metric} tells no attacker from legitimate users: take another.")
    return found


def _drawn_from(stage: Stage, profile: str) -> int:
    """How many different samples a profile's users send."""
    names = [f"class {name}" for name in stage.legitimate.class_names]
    if profile not in names:
        return len(stage.legitimate.costs)
    return int((stage.legitimate.classes == names.index(profile)).sum())


def _attacker(
    name: str, scores: Floats, rule: Rule, stage: Stage, rng: np.random.Generator, auroc: Mapping[str, float]
) -> Profile:
    sums = streams(scores, [np.ones(len(scores))] * ATTACKERS, stage.course, rng)
    return _profile(name, Role.attacker, len(scores), sums, rule, stage, auroc)


def _profile(
    name: str,
    role: Role,
    samples: int,
    sums: Floats,
    rule: Rule,
    stage: Stage,
    auroc: Mapping[str, float] | None = None,
) -> Profile:
    work = stream_sums(rule.multiples(sums), stage.course)
    clock = stage.clock
    mean = work[:, -1] / stage.course.horizon
    overhead = (clock.latency + clock.added + clock.floor * mean) / clock.latency
    return Profile(
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


def _auroc(priced: Priced, rule: Rule, legitimate: Samples) -> dict[str, float]:
    """How well each metric alone, standardised by class, tells the attacker's queries from legitimate ones."""
    truth = np.repeat([1, 0], [len(priced.costs), len(legitimate.costs)])
    costs = np.concatenate([priced.costs.numpy(), legitimate.costs])
    labels = np.concatenate([priced.labels.numpy(), legitimate.labels])
    found = {}
    for name, column, standard in zip(rule.metrics, costs.T, rule.standards, strict=True):
        scores = (column - np.array(standard.means)[labels]) / np.array(standard.deviations)[labels]
        found[name] = float(roc_auc_score(truth, scores))
    return found
