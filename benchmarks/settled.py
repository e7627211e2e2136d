"""Work of honest users and of thieves when they pay first, by the gate's own arithmetic and without a server.

python -m benchmarks.settled --domain digits     after make demo; a minute
python -m benchmarks.settled --domain fashion    builds the victim and teachers of a seed first; half an hour

A user presents the work that his account's past asks for, the query is settled, and he pays the rest if the answer is
withheld. The tables compare this with the price after the query's own evidence: exactly, and rounded up to a quarter of
a bit, as prices are. Figures are in floors an answer.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from calpow.archiver.calibration.fitting import CAP, excesses_of
from calpow.archiver.calibration.samples import Floats, Samples
from calpow.handler.gate.settling import settle, settle_rest
from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreName, ScoreSpec, VictimShape
from calpow.handler.ledger.ledger import NEW_ACCOUNT, Account, Charge, Outcome
from calpow.handler.policy.calibrated_policy import BatchRows, CalibratedPolicy, PolicyName
from calpow.handler.policy.calibration_file import load_policy
from calpow.handler.policy.policies import MICRO, Bounds, Conditional, Paper, SolverFit
from calpow.handler.policy.tariff import Tariff, TooLarge
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES

ROOT = Path(__file__).resolve().parents[1]
DIGITS, FASHION = "digits", "fashion"
QUERIES = 3_000
USERS, THIEVES = 20, 10
SHORT = 5
LISTS = (1, 64, 256)
HASHES_PER_SECOND = 1e7
FLOOR_SECONDS = 0.004
MOST_SECOND_CHALLENGES = 0.01
SAME = 0.05
FELL_SHORT = 1


@dataclass(frozen=True)
class Domain:
    """A fitted policy, honest samples, and strangers' excesses by their kind and the way they are mixed."""

    name: str
    policy: Conditional
    honest: Samples
    strangers: Mapping[str, Floats]


@dataclass
class Walk:
    """Simulation of one account: hashes paid, answers received, and answers that took a second challenge.

    exact: the summed prices after the evidence of every query itself.
    priced: the same, in steps of a quarter of a bit.
    """

    rule: CalibratedPolicy
    tariff: Tariff
    account: Account = NEW_ACCOUNT
    paid: int = 0
    priced: int = 0
    exact: float = 0.0
    answers: int = 0
    requests: int = 0
    second: int = 0

    def ask(self, excess: Sequence[int]) -> None:
        """Send one request of samples with these excesses, pay its price, and collect its answer."""
        asked = self.tariff.asked(self.account, len(excess), 1.0)
        if isinstance(asked, TooLarge):
            for start in range(0, len(excess), asked.samples):
                self.ask(excess[start : start + asked.samples])
            return
        self.requests += 1
        self.paid += asked
        totals = self.account.totals
        for sample in excess:
            totals += Charge(0, sample, 1)
            self.exact += self.rule.work(totals)
        settled = settle(self.tariff, self.account, [Charge(0, sample, 1) for sample in excess], asked, asked, 1.0)
        self.account = Account(settled.totals, settled.owed, 0)
        self.priced += settled.price
        self.answers += len(excess)
        if settled.rest > self.tariff.longest:
            self.second += 1
            self.answers -= len(excess)
        elif settled.rest:
            self.second += 1
            rest = max(self.tariff.at_least(settled.rest), self.tariff.announced(self.account))
            self.paid += rest
            outcome = Outcome("", "", 0.0, settled.price, settled.work, settled.rest)
            collected = settle_rest(self.tariff, self.account, outcome, rest)
            self.account = Account(collected.totals, collected.owed, 0)


def main() -> int:
    """Simulate the accounts of a domain and print the tables. Return 1 when a requirement is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.settled", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--domain", choices=(DIGITS, FASHION), default=DIGITS, help="default: digits")
    parser.add_argument("--seed", type=int, default=0, help="of Fashion's victim, teachers and split (default: 0)")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "demo" / "fashion", help="where Fashion's victims and teachers are kept"
    )
    args = parser.parse_args()
    try:
        domain = digits_domain() if args.domain == DIGITS else fashion_domain(args.folder.resolve(), args.seed)
    except CalpowError as problem:
        parser.error(str(problem))
    missed = list(report(domain, np.random.default_rng((args.seed, 7))))
    for line in missed:
        print(f"falls short: {line}", file=sys.stderr)
    return FELL_SHORT if missed else 0


def report(domain: Domain, rng: np.random.Generator) -> Iterator[str]:
    """Print both tables and yield a line for every requirement that is missed."""
    rule = calibrated_policy(domain.policy)
    print(f"\n{domain.name}, {QUERIES:,} queries a user\n")
    print(f"{'honest users':<26}{'second challenges':>18}{'floors an answer':>18}")
    for name, pool in profiles(domain).items():
        users = [walk(rule, rng.choice(pool, QUERIES), 1) for _ in range(USERS)]
        share = sum(user.second for user in users) / sum(user.requests for user in users)
        print(f"{name:<26}{share:>17.2%} {mean_floors(users):>17.2f}")
        if share > MOST_SECOND_CHALLENGES:
            yield f"{domain.name}, {name}: {share:.2%} second challenges"
    lists = "".join(f"{f'lists of {n}':>14}" for n in LISTS)
    print(f"\n{'thieves':<34}{'before':>10}{'rounded':>10}{lists}{'five, new':>12}")
    for name, pool in domain.strangers.items():
        sent = [rng.choice(pool, QUERIES) for _ in range(THIEVES)]
        walks = {n: [walk(rule, queries, n) for queries in sent] for n in LISTS}
        answers = sum(thief.answers for thief in walks[1]) * walks[1][0].tariff.floor
        exact, before = (
            sum(thief.exact for thief in walks[1]) / answers,
            sum(thief.priced for thief in walks[1]) / answers,
        )
        paid = [mean_floors(walks[n]) for n in LISTS]
        short = [walk(rule, rng.choice(pool, SHORT), 1) for _ in range(10 * THIEVES)]
        figures = "".join(f"{floors:>14,.1f}" for floors in paid)
        print(f"{name:<34}{exact:>10,.1f}{before:>10,.1f}{figures}{mean_floors(short):>12.1f}")
        if abs(paid[0] / before - 1) > SAME:
            yield f"{domain.name}, {name}: {paid[0]:.1f} floors an answer, {before:.1f} before"
        if min(paid[1:]) < (1 - SAME) * paid[0]:
            yield f"{domain.name}, {name}: {min(paid[1:]):.1f} floors an answer in lists, {paid[0]:.1f} one by one"


def walk(rule: CalibratedPolicy, excess: Floats, size: int) -> Walk:
    """Return the account that sends these samples in requests of `size`."""
    account = Walk(rule, Tariff(rule))
    micro = (excess * MICRO).round().astype(np.int64).tolist()
    for start in range(0, len(micro), size):
        account.ask(micro[start : start + size])
    return account


def mean_floors(walks: Sequence[Walk]) -> float:
    """Return the floors paid an answer, over all users."""
    return sum(walk.paid for walk in walks) / max(1, sum(walk.answers for walk in walks)) / walks[0].tariff.floor


def profiles(domain: Domain) -> dict[str, Floats]:
    """Return the excesses of honest users' samples, by class mix."""
    samples = domain.honest
    excess = excesses_of(domain.policy, samples.costs, samples.labels)
    by_class = {f"class {name}": excess[samples.classes == index] for index, name in enumerate(samples.class_names)}
    return {"uniform": excess, **by_class}


def calibrated_policy(policy: Conditional) -> CalibratedPolicy:
    """Return a calibrated policy with a floor of the size that a model of some milliseconds has."""
    classes = len(policy.class_means)
    return CalibratedPolicy(
        shape=VictimShape(classes, (1,)),
        victim_sha256="0" * 64,
        parts={},
        output=OutputKind.logits,
        rows=BatchRows(in_order=False, counted=True),
        scores=tuple(ScoreSpec(ScoreName.entropy, {}) for _ in policy.standards),
        input_range=InputRange((0.0,), (1.0,)),
        name=PolicyName.conditional,
        conditional=policy,
        paper=Paper(1.0, 0.0, 1.0),
        bounds=Bounds(0.0, 0.0, 0.0, 0.0, 1.0),
        puzzle=PROFILES[DEFAULT_PROFILE].kind,
        floor_seconds=FLOOR_SECONDS,
        cap=CAP,
        solver=SolverFit(0.0, HASHES_PER_SECOND),
    )


def mixed(strangers: Floats, honest: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    """Return strangers' excesses alone and mixed with honest ones, by the share of strangers."""
    n = len(strangers)
    return {
        "": strangers,
        ", half of them": np.concatenate([strangers, rng.choice(honest, n)]),
        ", one in five": np.concatenate([strangers, rng.choice(honest, 4 * n)]),
        ", one in twenty": np.concatenate([strangers, rng.choice(honest, 19 * n)]),
    }


def digits_domain() -> Domain:
    """Return the demo's model, calibration, users and thieves."""
    from benchmarks.digits import attacks
    from benchmarks.pricing import inputs_of, price_inputs
    from calpow.archiver.calibration.samples import price_folder
    from calpow.archiver.data.payloads import read_folder
    from calpow.archiver.victim.victim_archive import open_victim
    from calpow.handler.leakage.meter import Artefacts, make_meter
    from calpow.handler.leakage.teachers.ensemble import Ensemble

    home = ROOT / "demo"
    made = load_policy(home / "calibration.json")
    folder = read_folder(home / "users")
    ensemble = Ensemble.load(home / "teachers.pt")
    rng = np.random.default_rng(3)
    with open_victim(home / "victim.mar") as opened:
        artefacts = Artefacts(ensemble)
        meter = make_meter(opened.recorder, made.shape, made.output, made.scores, made.input_range, artefacts)
        honest = price_folder(opened, folder, meter)
        excess = excesses_of(made.conditional, honest.costs, honest.labels)
        strangers: dict[str, Floats] = {}
        for kind in ("natural", "letters", "noise"):
            priced = price_inputs(inputs_of(opened, attacks.payloads(kind, 300)), meter.price)
            found = excesses_of(made.conditional, priced.costs, priced.labels)
            strangers |= {f"{kind}{way}": pool for way, pool in mixed(found, excess, rng).items()}
    return Domain("digits", made.conditional, honest, strangers)


def fashion_domain(folder: Path, seed: int) -> Domain:
    """Return one seed of Fashion-MNIST, priced by PATE alone."""
    from benchmarks.fashion.data import CLASS_FOLDERS, CLASSES, split, tensor
    from benchmarks.fashion.strangers import NEAR, Stock, make_all
    from benchmarks.fashion.victim import TEACHERS, Home, build
    from benchmarks.pricing import calls_on, price_inputs
    from calpow.archiver.calibration.fitting import fit_conditional
    from calpow.archiver.calibration.score_setup import vote_settings
    from calpow.archiver.calibration.simulated_users import StreamLengths
    from calpow.archiver.victim.recorded_calls import output_kind
    from calpow.archiver.victim.victim_archive import open_victim
    from calpow.handler.leakage.input_range import measure_range
    from calpow.handler.leakage.meter import Artefacts, make_meter
    from calpow.handler.leakage.teachers.ensemble import Ensemble

    folder.mkdir(parents=True, exist_ok=True)
    home = Home(folder, seed)
    build(home)
    halves = split(seed)
    rng = np.random.default_rng((seed, 5))
    sets = {"calibration": halves.calibration.images, "fresh": halves.fresh.images}
    kinds = make_all(Stock(halves.fresh, folder, rng), 1_000)
    chosen = (ScoreSpec(ScoreName.pate, vote_settings(TEACHERS, None)),)
    with open_victim(home.victim) as opened:
        inputs = tensor(halves.calibration.images[:1_000])
        shape = VictimShape(len(CLASS_FOLDERS), tuple(inputs.shape[1:]))
        output = output_kind(calls_on(opened, inputs), shape.classes, graded=False)
        artefacts = Artefacts(Ensemble.load(home.ensemble))
        meter = make_meter(opened.recorder, shape, output, chosen, measure_range(inputs), artefacts)
        priced = {
            name: price_inputs(tensor(images), meter.price)
            for name, images in tqdm({**sets, **kinds}.items(), "pricing", unit="set", disable=None)
        }
    honest = {
        name: Samples(
            priced[name].costs,
            priced[name].labels,
            torch.from_numpy(half.labels),
            torch.arange(len(half.labels)),
            CLASSES,
        )
        for name, half in (("calibration", halves.calibration), ("fresh", halves.fresh))
    }
    highest = np.array([score.highest for score in meter.scores])
    policy = fit_conditional(honest["calibration"], highest, StreamLengths(10_000), rng).policy
    excess = excesses_of(policy, honest["fresh"].costs, honest["fresh"].labels)
    strangers: dict[str, Floats] = {}
    for kind in kinds:
        found = excesses_of(policy, priced[kind].costs, priced[kind].labels)
        ways = {"": found} if kind in NEAR else mixed(found, excess, rng)
        strangers |= {f"{kind}{way}": pool for way, pool in ways.items()}
    return Domain(f"Fashion-MNIST, seed {seed}", policy, honest["fresh"], strangers)


if __name__ == "__main__":
    raise SystemExit(main())
