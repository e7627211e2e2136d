"""Accounts of users and thieves, drawn from queries that were scored."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.digits import attacks as digits_attacks
from benchmarks.digits import victim as digits_victim
from benchmarks.digits.pricing import inputs_of, price_inputs
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.policy_fit.user_profiles import CONCENTRATION
from calpow.archiver.calibration.records.recorded_samples import RecordedSamples
from calpow.archiver.calibration.samples import Floats, Ints, Samples, price_folder
from calpow.archiver.calibration.score_setup import load_artefacts, reference_attacks, set_up_scores
from calpow.archiver.data.payloads import read_folder
from calpow.archiver.teachers.teacher_order import TeacherOrder
from calpow.archiver.teachers.training import train
from calpow.archiver.victim.recorded_calls import some_calls
from calpow.archiver.victim.victim_archive import open_victim
from calpow.handler.leakage.score import ScoredSamples

TEACHERS = 50
STRANGERS = ("natural", "letters", "noise")
STRANGERS_EACH = 1_000
# Queries of a user: log-normal around the median.
MEDIAN_QUERIES, SCATTER = 300, 1.0
SHORTEST, LONGEST = 5, 5_000


@dataclass(frozen=True)
class ThiefKind:
    """Behaviour of a thief: the share of strangers among his queries, or all of them perturbed legitimate inputs."""

    share: float = 1.0
    perturbed: bool = False
    queries: int = 10 * MEDIAN_QUERIES


@dataclass(frozen=True)
class ScoredCrowd:
    """Scored queries from which accounts are drawn."""

    honest: Samples
    strangers: ScoredSamples
    perturbed: ScoredSamples


@dataclass(frozen=True)
class AccountQueries:
    """Queries of one account: costs `[n, scores]` and classes `[n]`."""

    costs: Floats
    labels: Ints


def scored_crowd(home: Path) -> ScoredCrowd:
    """Train a victim and its teachers below `home`, and price all queries."""
    digits_victim.build(home)
    train(TeacherOrder(home / "victim.mar", home / "victim-train", home / "teachers.pt", teachers=TEACHERS))
    order = CalibrationOrder(home / "victim.mar", home / "calibration", home / "c.json", ensemble=home / "teachers.pt")
    folder = read_folder(order.data)
    folder = replace(folder, payloads=folder.payloads + read_folder(home / "users").payloads)
    with open_victim(order.victim) as opened:
        calls = some_calls(opened, folder.payloads, STRANGERS_EACH, order.seed)
        setup = set_up_scores(order, opened, folder, calls, load_artefacts(order, opened, folder))
        strangers = [body for kind in STRANGERS for body in digits_attacks.payloads(kind, STRANGERS_EACH)]
        return ScoredCrowd(
            price_folder(opened, folder, setup.meter).samples,
            price_inputs(inputs_of(opened, strangers), setup.meter.price),
            reference_attacks(calls, setup, order.seed)["perturbed"],
        )


def user(pool: ScoredCrowd, queries: int, rng: np.random.Generator) -> AccountQueries:
    """Draw the queries of a user, from a mixture of classes and half of the images of his own."""
    honest = pool.honest
    own = rng.random(int(honest.groups.max()) + 1) < 0.5
    mixture = rng.dirichlet(np.full(len(honest.class_names), CONCENTRATION))
    weights = mixture[honest.classes.numpy()] * own[honest.groups.numpy()]
    picks = rng.choice(len(weights), queries, p=weights / weights.sum())
    return AccountQueries(honest.costs.numpy()[picks], honest.labels.numpy()[picks])


def thief(pool: ScoredCrowd, kind: ThiefKind, rng: np.random.Generator) -> AccountQueries:
    """Draw the queries of a thief."""
    source = pool.perturbed if kind.perturbed else pool.strangers
    picks = rng.integers(len(source.costs), size=round(kind.share * kind.queries))
    rest = rng.integers(len(pool.honest.costs), size=kind.queries - len(picks))
    return AccountQueries(
        np.concatenate([source.costs.numpy()[picks], pool.honest.costs.numpy()[rest]]),
        np.concatenate([source.labels.numpy()[picks], pool.honest.labels.numpy()[rest]]),
    )


def recorded(
    pool: ScoredCrowd, accounts: int, share: float, kind: ThiefKind, rng: np.random.Generator
) -> tuple[RecordedSamples, int]:
    """Return recorded accounts, the thieves first, and the number of thieves."""
    thieves = round(accounts * share)
    lengths = rng.lognormal(np.log(MEDIAN_QUERIES), SCATTER, accounts - thieves).clip(SHORTEST, LONGEST).astype(int)
    sent = [thief(pool, kind, rng) for _ in range(thieves)] + [user(pool, n, rng) for n in lengths.tolist()]
    owners = np.repeat(np.arange(accounts), [len(account.labels) for account in sent])
    costs, labels = (
        np.concatenate([account.costs for account in sent]),
        np.concatenate([account.labels for account in sent]),
    )
    names = tuple(f"{number}" for number in range(accounts))
    return RecordedSamples(costs, labels, owners, np.arange(len(owners)), names, 0, 0), thieves
