"""`calpow calibrate`: what legitimate use of a model costs and takes, measured into one file."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from calpow.puzzle.errors import CalpowError
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES

if TYPE_CHECKING:
    from calpow.handler.policy.calibration_file import Calibration

METRICS = ("pate", "entropy", "gap", "pknn", "odin", "odin-moved")
DEFAULT_METRICS = ("pate",)
POLICIES = ("conditional", "paper", "bounds")
EPILOG = """\
Example:
  calpow calibrate --victim victim.mar --ensemble teachers.pt2 --data heldout/ --output calibration.json

heldout/ is what legitimate users would send and neither the victim nor its teachers were trained on: a folder a
class, at least 10 payload files in each; hundreds let attackers hide less. Files in a sub-folder of a class (the copies
of one image, say) count as one. Latency and solving times are those of this machine: leave it idle meanwhile.

After a soft launch (calpow archive --mode observe), what real users cost is learnt from what was recorded; accounts
that are no legitimate users are found and left out:
  calpow calibrate --victim victim.mar --ensemble teachers.pt2 --data heldout/ --from-records ~/.calpow/records.jsonl
A few payloads a class are enough in heldout/ then: attackers are made of them, and the victim is timed with them.
"""


class OrderError(CalpowError):
    """What was asked for cannot be calibrated."""


@dataclass(frozen=True)
class Order:
    """What to calibrate, with what, and where to write it.

    metrics: names, the first of which the paper's rule sums. budget: what a legitimate user's answer may take, in
    multiples of what it takes unprotected. rdp_order: votes are accounted as RDP of this order instead of each query's
    epsilon. horizon: queries up to which that holds. attacks: folders of payloads that are no legitimate use, by name.
    puzzle: the profile of the puzzles that clients will solve. fast: work is calibrated in the time of calpow[fast]'s
    solver, not in that of the one every Python has. records: what mode observe recorded, from which
    legitimate costs are then learnt.
    """

    victim: Path
    data: Path
    output: Path
    ensemble: Path | None = None
    neighbours: Path | None = None
    rdp_order: float | None = None
    metrics: tuple[str, ...] = DEFAULT_METRICS
    policy: str = "conditional"
    budget: float = 2.0
    horizon: int = 10_000
    attacks: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0
    records: Path | None = None
    puzzle: str = DEFAULT_PROFILE
    fast: bool = True

    def __post_init__(self) -> None:
        if self.puzzle not in PROFILES:
            raise OrderError(f"--puzzle {self.puzzle}: give one of {', '.join(PROFILES)}")
        if not 1 < self.budget < 1000:
            raise OrderError(
                f"--overhead-budget {self.budget}: give more than 1, for example 2 for at most twice the time"
            )
        if not 100 <= self.horizon <= 10_000_000:
            raise OrderError(f"--horizon {self.horizon}: give a number of queries from 100 to 10,000,000")
        if len(set(self.metrics)) < len(self.metrics):
            raise OrderError(f"--metric names one twice: {' '.join(self.metrics)}")
        if self.rdp_order is not None and not 1 < self.rdp_order <= 1000:
            raise OrderError(f"--rdp-order {self.rdp_order}: give an order above 1, up to 1000")
        self._check_file("pate", "--ensemble", self.ensemble, "calpow teachers")
        self._check_file("pknn", "--neighbours", self.neighbours, "calpow neighbours")

    def _check_file(self, metric: str, option: str, file: Path | None, maker: str) -> None:
        if metric in self.metrics and file is None:
            raise OrderError(f"metric {metric} needs {option}, from {maker}")
        if metric not in self.metrics and file is not None:
            raise OrderError(f"{option} is for metric {metric}: leave it out, or add --metric {metric}")


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `calpow calibrate`."""
    parser = subparsers.add_parser(
        "calibrate",
        help="measure what legitimate use of a model costs and takes",
        description="Measure what legitimate queries cost, how long the unprotected victim and the reference client"
        " take, and fit the policy that keeps legitimate users within the overhead budget.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--victim", type=Path, required=True, help="the .mar to protect")
    parser.add_argument("--ensemble", type=Path, help="from calpow teachers; for metric pate")
    parser.add_argument("--neighbours", type=Path, help="from calpow neighbours; for metric pknn")
    parser.add_argument("--data", type=Path, required=True, help="folder of held-out payloads, a sub-folder a class")
    parser.add_argument("--output", type=Path, default=Path("calibration.json"), help="default: calibration.json")
    parser.add_argument(
        "--metric",
        nargs="+",
        choices=METRICS,
        metavar="NAME",
        default=list(DEFAULT_METRICS),
        help=f"what is measured of a query, several are combined: {', '.join(METRICS)} (default: pate)",
    )
    parser.add_argument(
        "--rdp-order",
        type=float,
        metavar="ORDER",
        help="sum the RDP of votes at this order instead of each query's epsilon",
    )
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        default="conditional",
        help="conditional: cost above legitimate queries with the same answer; paper: distance from the mean cost;"
        " bounds: distance from the lowest and highest cost of legitimate users (default: conditional)",
    )
    parser.add_argument(
        "--overhead-budget",
        type=float,
        default=2.0,
        metavar="TIMES",
        help="what an answer may take a legitimate user, in multiples of the unprotected time (default: 2.0)",
    )
    parser.add_argument(
        "--horizon", type=int, default=10_000, metavar="QUERIES", help="up to which that holds (default: 10000)"
    )
    parser.add_argument(
        "--attack",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="payload files that are no legitimate use, to see what they would pay; may be repeated",
    )
    parser.add_argument(
        "--from-records",
        type=Path,
        metavar="FILE.jsonl",
        help="learn what legitimate queries cost from what mode observe recorded",
    )
    parser.add_argument(
        "--puzzle",
        choices=list(PROFILES),
        default=DEFAULT_PROFILE,
        help="what clients solve: "
        + "; ".join(f"{name}, {each.reason}" for name, each in PROFILES.items())
        + " (default: %(default)s)",
    )
    parser.add_argument(
        "--reference-client",
        choices=("fast", "python"),
        default="fast",
        help="whose seconds work is calibrated in: those of calpow[fast]'s solver, which thieves will have, or of the"
        " one that every Python has, for users without another: thieves then pay a fraction (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the simulated users (default: 0)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    order = Order(
        victim=args.victim,
        data=args.data,
        output=args.output,
        ensemble=args.ensemble,
        neighbours=args.neighbours,
        rdp_order=args.rdp_order,
        metrics=tuple(args.metric),
        policy=args.policy,
        budget=args.overhead_budget,
        horizon=args.horizon,
        attacks=_attacks(args.attack),
        seed=args.seed,
        records=args.from_records,
        puzzle=args.puzzle,
        fast=args.reference_client == "fast",
    )
    from calpow.archiver.calibration.calibrator import calibrate

    made = calibrate(order, tell=print)
    made.save(order.output)
    print(f"{order.output}: {_summary(made)}")
    for warning in made.evidence.warnings:
        print(f"  warning: {warning}")
    print(f"  calpow report {order.output} -o report.html shows all of it")
    return 0


def _attacks(given: list[str]) -> dict[str, Path]:
    attacks = {}
    for each in given:
        name, separator, folder = each.partition("=")
        if not (name and separator and folder):
            raise OrderError(f"--attack {each}: give NAME=FOLDER")
        if name in attacks:
            raise OrderError(f"--attack {each}: there is another attack of that name")
        attacks[name] = Path(folder)
    return attacks


def _summary(made: "Calibration") -> str:
    from calpow.archiver.report.verdicts import verdicts

    facts = made.provenance
    names = " and ".join(each.name.value for each in made.metrics)
    took, added = 1e3 * made.latency_seconds, 1e3 * float(facts["added_seconds"])
    puzzle, slow = 1e3 * made.floor_seconds, 1e3 * float(facts["floor_seconds_in_python"])
    lines = [
        f"policy {made.policy.value} on {names}, from {facts['samples']} samples of {made.shape.classes} classes",
        *([] if made.rows.in_order else ["the samples of a batch cannot be told apart: requests run one at a time"]),
        f"a sample takes {took:.2f} ms unprotected; the gate adds {added:.2f} ms and a puzzle of {puzzle:.2f} ms,"
        f" {made.solver.work(made.floor_seconds):,.0f} hashes of {facts['puzzle']}",
        *([f"that is with calpow[fast]; a client without it takes {slow:.2f} ms"] if facts["solver"] == "fast" else []),
        *(f"{each.question} {each.figure.capitalize()}. {each.sentence}" for each in verdicts(made.evidence)),
    ]
    return "\n  ".join(lines)
