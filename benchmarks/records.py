"""Detection of thieves by `calpow calibrate --from-records`, on scikit-learn's digits.

python -m benchmarks.records

Costs are real, accounts are simulated: a user sends mostly a few classes, and only half of the images; a thief sends
ten times as many queries. The first table shows how many thieves are detected, for rising shares of thieves. The second
shows what users and thieves pay under the policy that is then fitted: the mean over their first queries, in multiples
of the floor (the budget leaves 1.25).
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.digits import attacks as digits_attacks
from benchmarks.digits import victim as digits_victim
from benchmarks.pricing import inputs_of, price_inputs
from calpow.archiver.calibration.fitting import conditional_multiples, excesses_of, fit_conditional
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.recorded_samples import RecordedSamples, vet_records
from calpow.archiver.calibration.samples import Floats, Ints, Samples, price_folder
from calpow.archiver.calibration.score_setup import reference_attacks, set_up_scores
from calpow.archiver.calibration.simulated_users import CONCENTRATION, StreamLengths, stream_means, streams
from calpow.archiver.data.payloads import read_folder
from calpow.archiver.errors import RecordsError
from calpow.archiver.teachers.training import TeacherOrder, train
from calpow.archiver.victim.recorded_calls import some_calls
from calpow.archiver.victim.victim_archive import open_victim
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.policy.policies import Conditional

TEACHERS = 50
STRANGERS = ("natural", "letters", "noise")
STRANGERS_EACH = 1_000
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
# Seeds by the number of accounts; large crowds differ little from seed to seed.
SEEDS = {20: 5, 100: 3, 500: 1}
# Queries of a user: log-normal around the median.
MEDIAN_QUERIES, SCATTER = 300, 1.0
SHORTEST, LONGEST = 5, 5_000
LENGTHS = StreamLengths(10_000)
FITTED_ACCOUNTS = 100
FITTED_SHARE = 0.4
FRESH_USERS = 500
THIEVES = 50


@dataclass(frozen=True)
class ThiefKind:
    """Behaviour of a thief: the share of strangers among his queries, or all of them perturbed legitimate inputs."""

    share: float = 1.0
    perturbed: bool = False
    queries: int = 10 * MEDIAN_QUERIES


KINDS: Mapping[str, ThiefKind] = {
    "strangers": ThiefKind(),
    "half strangers": ThiefKind(0.5),
    "one stranger in five": ThiefKind(0.2),
    "perturbed": ThiefKind(perturbed=True),
    "strangers, 30 queries": ThiefKind(queries=30),
    "half, 30 queries": ThiefKind(0.5, queries=30),
    "strangers, 5 queries": ThiefKind(queries=5),
}


@dataclass(frozen=True)
class Pool:
    """Priced queries from which accounts are drawn; `highest` `[scores]` are the highest possible costs."""

    honest: Samples
    strangers: ScoredSamples
    perturbed: ScoredSamples
    highest: Floats


@dataclass(frozen=True)
class AccountQueries:
    """Queries of one account: costs `[n, scores]` and classes `[n]`."""

    costs: Floats
    labels: Ints


@dataclass(frozen=True)
class Vetting:
    """The samples that are left, None if they are too few, and the shares of thieves detected and of users dropped."""

    left: Samples | None
    found: float
    wrong: float


def priced_pool(home: Path) -> Pool:
    """Train a victim and its teachers below `home`, and price all queries."""
    digits_victim.build(home)
    train(TeacherOrder(home / "victim.mar", home / "victim-train", home / "teachers.pt", teachers=TEACHERS))
    order = CalibrationOrder(home / "victim.mar", home / "calibration", home / "c.json", ensemble=home / "teachers.pt")
    folder = read_folder(order.data)
    folder = replace(folder, payloads=folder.payloads + read_folder(home / "users").payloads)
    with open_victim(order.victim) as opened:
        calls = some_calls(opened, folder.payloads, STRANGERS_EACH, order.seed)
        setup = set_up_scores(order, opened, folder, calls)
        strangers = [body for kind in STRANGERS for body in digits_attacks.payloads(kind, STRANGERS_EACH)]
        return Pool(
            price_folder(opened, folder, setup.meter),
            price_inputs(inputs_of(opened, strangers), setup.meter.price),
            reference_attacks(calls, setup, order.seed)["perturbed"],
            setup.highest,
        )


def user(pool: Pool, queries: int, rng: np.random.Generator) -> AccountQueries:
    """Draw the queries of a user, from a mixture of classes and half of the images of his own."""
    honest = pool.honest
    own = rng.random(int(honest.groups.max()) + 1) < 0.5
    mixture = rng.dirichlet(np.full(len(honest.class_names), CONCENTRATION))
    weights = mixture[honest.classes.numpy()] * own[honest.groups.numpy()]
    picks = rng.choice(len(weights), queries, p=weights / weights.sum())
    return AccountQueries(honest.costs.numpy()[picks], honest.labels.numpy()[picks])


def thief(pool: Pool, kind: ThiefKind, rng: np.random.Generator) -> AccountQueries:
    """Draw the queries of a thief."""
    source = pool.perturbed if kind.perturbed else pool.strangers
    picks = rng.integers(len(source.costs), size=round(kind.share * kind.queries))
    rest = rng.integers(len(pool.honest.costs), size=kind.queries - len(picks))
    return AccountQueries(
        np.concatenate([source.costs.numpy()[picks], pool.honest.costs.numpy()[rest]]),
        np.concatenate([source.labels.numpy()[picks], pool.honest.labels.numpy()[rest]]),
    )


def recorded(
    pool: Pool, accounts: int, share: float, kind: ThiefKind, rng: np.random.Generator
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


def vetted(pool: Pool, accounts: int, share: float, kind: ThiefKind, seed: int) -> Vetting:
    """Draw a crowd of accounts and vet it."""
    rng = np.random.default_rng(seed)
    crowd, thieves = recorded(pool, accounts, share, kind, rng)
    try:
        left = vet_records(crowd, pool.honest.class_names, pool.highest, rng)
    except RecordsError:
        return Vetting(None, np.nan, np.nan)
    dropped = [int(name) for name, _ in left.dropped]
    found = sum(number < thieves for number in dropped)
    return Vetting(left.samples, found / thieves if thieves else np.nan, (len(dropped) - found) / (accounts - thieves))


def paid(policy: Conditional, sent: Sequence[AccountQueries], rng: np.random.Generator) -> Floats:
    """Return the mean multiples of the floor over 1,000 and 10,000 queries of such accounts: `[accounts, 2]`."""
    rows = []
    for account in sent:
        excess = excesses_of(policy, torch.from_numpy(account.costs), torch.from_numpy(account.labels))
        rows.append(streams(excess, [np.ones(len(excess))], LENGTHS, rng)[0])
    multiples = partial(conditional_multiples, policy, LENGTHS.checkpoints)
    return stream_means(multiples(np.stack(rows)), LENGTHS, (1_000, 10_000))


def print_vetting(pool: Pool) -> None:
    """Print the first table."""
    print("Thieves found / users dropped by mistake, per cent")
    print(f"{'thieves send':<24}{'accounts':>9}" + "".join(f"{share:>14.0%}" for share in SHARES))
    for name, kind in KINDS.items():
        for accounts, seeds in SEEDS.items():
            cells = []
            for share in SHARES:
                runs = [vetted(pool, accounts, share, kind, seed) for seed in range(seeds)]
                done = [run for run in runs if run.left is not None]
                cells.append(cell(done, share) if done else "too few")
            print(f"{name:<24}{accounts:>9}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def cell(runs: Sequence[Vetting], share: float) -> str:
    """Return a cell of the first table: thieves detected / users dropped, in per cent."""
    found = f"{100 * np.mean([run.found for run in runs]):.0f}" if share else "-"
    return f"{found} / {100 * np.mean([run.wrong for run in runs]):.1f}"


def print_payments(pool: Pool) -> None:
    """Print the second table."""
    print(f"\nMultiples of the floor, from {FITTED_ACCOUNTS} accounts: users' 99th percentile, thieves' median")
    print(f"{'thieves send':<24}{'share':>6}{'users 1,000':>14}{'10,000':>10}{'thieves 1,000':>16}{'10,000':>10}")
    nobody = fitted(pool, 0.0, ThiefKind())
    for name, kind in KINDS.items():
        for share, policy in ((0.0, nobody), (FITTED_SHARE, fitted(pool, FITTED_SHARE, kind))):
            rng = np.random.default_rng(1)
            users = paid(policy, [user(pool, LONGEST, rng) for _ in range(FRESH_USERS)], rng)
            thieves = paid(policy, [thief(pool, replace(kind, queries=LONGEST), rng) for _ in range(THIEVES)], rng)
            cells = (*np.percentile(users, 99, axis=0), *np.median(thieves, axis=0))
            print(
                f"{name:<24}{share:>6.0%}{cells[0]:>14.2f}{cells[1]:>10.2f}{cells[2]:>16,.1f}{cells[3]:>10,.1f}",
                flush=True,
            )


def fitted(pool: Pool, share: float, kind: ThiefKind) -> Conditional:
    """Return the policy fitted to the samples that vetting leaves of a crowd."""
    left = vetted(pool, FITTED_ACCOUNTS, share, kind, 0).left
    assert left is not None
    return fit_conditional(left, pool.highest, LENGTHS, np.random.default_rng(1), quiet=True).policy


def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(prog="benchmarks.records", description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory(prefix="calpow-records-") as home:
        pool = priced_pool(Path(home))
    print_vetting(pool)
    print_payments(pool)


if __name__ == "__main__":
    main()
