"""How many thieves among the users `calpow calibrate --from-records` stands, on scikit-learn's digits.

python -m benchmarks.records

Real costs, simulated accounts: each user sends mostly a few classes, and only every second image there is; a thief
sends ten times as much. First table: who of them is found. Second: what users and thieves pay under the policy that is
then fitted, the mean over their first queries in multiples of the floor (1.25 is what the budget leaves).
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
from benchmarks.digits.handler import read_digit
from calpow.archiver.calibration.fitting import conditional_multiples, excesses_of, fit_conditional
from calpow.archiver.calibration.instrument import make_instrument, reference_attacks
from calpow.archiver.calibration.recorded_samples import Recorded, RecordsError, vet_records
from calpow.archiver.calibration.samples import price_folder, price_inputs, some_inputs
from calpow.archiver.calibration.simulated_users import (
    CONCENTRATION,
    Course,
    Floats,
    Ints,
    Samples,
    stream_means,
    streams,
)
from calpow.archiver.cli.calibrate import Order
from calpow.archiver.payloads import read_folder
from calpow.archiver.teachers.training import Order as TeachersOrder
from calpow.archiver.teachers.training import train
from calpow.archiver.victim_archive import open_victim
from calpow.handler.leakage.score import Priced
from calpow.handler.policy.policies import Conditional

TEACHERS = 50
STRANGERS = ("natural", "letters", "noise")
STRANGERS_EACH = 1_000
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
# Fewer where a crowd is its own average.
SEEDS = {20: 5, 100: 3, 500: 1}
# Queries of a user: log-normal around the median.
MEDIAN_QUERIES, SCATTER = 300, 1.0
SHORTEST, LONGEST = 5, 5_000
COURSE = Course(10_000)
FITTED_ACCOUNTS = 100
FITTED_SHARE = 0.4
FRESH_USERS = 500
THIEVES = 50


@dataclass(frozen=True)
class Thief:
    """What a thief sends: strangers in this share of his queries, or legitimate inputs perturbed; how many queries."""

    share: float = 1.0
    perturbed: bool = False
    queries: int = 10 * MEDIAN_QUERIES


KINDS: Mapping[str, Thief] = {
    "strangers": Thief(),
    "half strangers": Thief(0.5),
    "one stranger in five": Thief(0.2),
    "perturbed": Thief(perturbed=True),
    "strangers, 30 queries": Thief(queries=30),
    "half, 30 queries": Thief(0.5, queries=30),
    "strangers, 5 queries": Thief(queries=5),
}


@dataclass(frozen=True)
class Pool:
    """Priced queries to make accounts of: users', strangers' and perturbed ones; `highest` is the most."""

    honest: Samples
    strangers: Priced
    perturbed: Priced
    highest: Floats


@dataclass(frozen=True)
class Sent:
    """What one account sent: costs `[n, metrics]`, classes `[n]`."""

    costs: Floats
    labels: Ints


@dataclass(frozen=True)
class Vetting:
    """The samples that are left, None where they are too few; the shares of thieves found and of users dropped."""

    left: Samples | None
    found: float
    wrong: float


def priced_pool(home: Path) -> Pool:
    """Train victim and teachers below `home` and price everything."""
    digits_victim.build(home)
    train(TeachersOrder(home / "victim.mar", home / "victim-train", home / "teachers.pt2", teachers=TEACHERS))
    order = Order(home / "victim.mar", home / "calibration", home / "c.json", ensemble=home / "teachers.pt2")
    folder = read_folder(order.data)
    folder = replace(folder, payloads=folder.payloads + read_folder(home / "users").payloads)
    with open_victim(order.victim) as opened:
        inputs = some_inputs(opened, folder.payloads, STRANGERS_EACH, order.seed)
        instrument = make_instrument(order, opened, folder, inputs)
        made = [
            read_digit(body).reshape(1, *inputs.shape[1:])
            for kind in STRANGERS
            for body in digits_attacks.payloads(kind, STRANGERS_EACH)
        ]
        return Pool(
            price_folder(opened, folder, instrument.meter.price),
            price_inputs(torch.cat(made), instrument.meter.price),
            reference_attacks(inputs, instrument.meter, order.seed)["perturbed"],
            instrument.highest,
        )


def user(pool: Pool, queries: int, rng: np.random.Generator) -> Sent:
    """What a user sends, of his own mixture of classes and of his own half of the images."""
    honest = pool.honest
    mine = rng.random(int(honest.groups.max()) + 1) < 0.5
    mixture = rng.dirichlet(np.full(len(honest.class_names), CONCENTRATION))
    weights = mixture[honest.classes] * mine[honest.groups]
    picks = rng.choice(len(weights), queries, p=weights / weights.sum())
    return Sent(honest.costs[picks], honest.labels[picks])


def thief(pool: Pool, kind: Thief, rng: np.random.Generator) -> Sent:
    """What a thief sends."""
    source = pool.perturbed if kind.perturbed else pool.strangers
    picks = rng.integers(len(source.costs), size=round(kind.share * kind.queries))
    rest = rng.integers(len(pool.honest.costs), size=kind.queries - len(picks))
    return Sent(
        np.concatenate([source.costs.numpy()[picks], pool.honest.costs[rest]]),
        np.concatenate([source.labels.numpy()[picks], pool.honest.labels[rest]]),
    )


def recorded(pool: Pool, accounts: int, share: float, kind: Thief, rng: np.random.Generator) -> tuple[Recorded, int]:
    """Accounts, the first of which are thieves, and how many these are."""
    thieves = round(accounts * share)
    lengths = rng.lognormal(np.log(MEDIAN_QUERIES), SCATTER, accounts - thieves).clip(SHORTEST, LONGEST).astype(int)
    sent = [thief(pool, kind, rng) for _ in range(thieves)] + [user(pool, n, rng) for n in lengths.tolist()]
    owners = np.repeat(np.arange(accounts), [len(each.labels) for each in sent])
    costs, labels = np.concatenate([each.costs for each in sent]), np.concatenate([each.labels for each in sent])
    names = tuple(f"{number}" for number in range(accounts))
    return Recorded(costs, labels, owners, np.arange(len(owners)), names, 0, 0), thieves


def vetted(pool: Pool, accounts: int, share: float, kind: Thief, seed: int) -> Vetting:
    """Let a crowd of accounts be looked at."""
    rng = np.random.default_rng(seed)
    made, thieves = recorded(pool, accounts, share, kind, rng)
    try:
        left = vet_records(made, pool.honest.class_names, pool.highest, rng)
    except RecordsError:
        return Vetting(None, np.nan, np.nan)
    dropped = [int(name) for name, _ in left.dropped]
    found = sum(number < thieves for number in dropped)
    return Vetting(left.samples, found / thieves if thieves else np.nan, (len(dropped) - found) / (accounts - thieves))


def paid(policy: Conditional, sent: Sequence[Sent], rng: np.random.Generator) -> Floats:
    """Mean multiples of the floor over 1,000 and 10,000 queries of accounts that go on so: `[accounts, 2]`."""
    rows = []
    for each in sent:
        excess = excesses_of(policy, each.costs, each.labels)
        rows.append(streams(excess, [np.ones(len(excess))], COURSE, rng)[0])
    multiples = partial(conditional_multiples, policy, COURSE.checkpoints)
    return stream_means(multiples(np.stack(rows)), COURSE, (1_000, 10_000))


def print_vetting(pool: Pool) -> None:
    """The first table."""
    print("Thieves found / users dropped by mistake, per cent")
    print(f"{'thieves send':<24}{'accounts':>9}" + "".join(f"{share:>14.0%}" for share in SHARES))
    for name, kind in KINDS.items():
        for accounts, seeds in SEEDS.items():
            cells = []
            for share in SHARES:
                runs = [vetted(pool, accounts, share, kind, seed) for seed in range(seeds)]
                done = [each for each in runs if each.left is not None]
                cells.append(cell(done, share) if done else "too few")
            print(f"{name:<24}{accounts:>9}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def cell(runs: Sequence[Vetting], share: float) -> str:
    """Thieves found / users dropped."""
    found = f"{100 * np.mean([each.found for each in runs]):.0f}" if share else "-"
    return f"{found} / {100 * np.mean([each.wrong for each in runs]):.1f}"


def print_payments(pool: Pool) -> None:
    """The second table."""
    print(f"\nMultiples of the floor, from {FITTED_ACCOUNTS} accounts: users' 99th percentile, thieves' median")
    print(f"{'thieves send':<24}{'share':>6}{'users 1,000':>14}{'10,000':>10}{'thieves 1,000':>16}{'10,000':>10}")
    nobody = fitted(pool, 0.0, Thief())
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


def fitted(pool: Pool, share: float, kind: Thief) -> Conditional:
    """The policy fitted to what is left of a crowd."""
    left = vetted(pool, FITTED_ACCOUNTS, share, kind, 0).left
    assert left is not None
    return fit_conditional(left, pool.highest, COURSE, np.random.default_rng(1), quiet=True).policy


def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(prog="benchmarks.records", description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory(prefix="calpow-records-") as home:
        pool = priced_pool(Path(home))
    print_vetting(pool)
    print_payments(pool)


if __name__ == "__main__":
    main()
