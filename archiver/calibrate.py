"""`calpow calibrate`: what legitimate use of a model costs and takes, measured into one file."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calpow.handler.calibration import Calibration

EPILOG = """\
Example:
  calpow calibrate --victim victim.mar --ensemble teachers.pt2 --data heldout/ --output calibration.json

heldout/ is what legitimate users would send and neither the victim nor its teachers were trained on: a folder a
class, at least 10 payload files in each. Files in a sub-folder of a class (the copies of one image, say) count as
one. Latency and solving times are those of this machine: leave it idle meanwhile.
"""


@dataclass(frozen=True)
class Order:
    """What to calibrate, with what, and where to write it."""

    victim: Path
    ensemble: Path
    data: Path
    output: Path
    policy: str
    preprocess: str | None
    seed: int


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `calpow calibrate`."""
    parser = subparsers.add_parser(
        "calibrate",
        help="measure what legitimate use of a model costs and takes",
        description="Measure what legitimate queries cost, how long the unprotected victim and the reference client"
        " take, and fit the policy that keeps legitimate users within twice the latency.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--victim", type=Path, required=True, help="the .mar to protect")
    parser.add_argument("--ensemble", type=Path, required=True, help="from calpow teachers")
    parser.add_argument("--data", type=Path, required=True, help="folder of held-out payloads, a sub-folder a class")
    parser.add_argument("--output", type=Path, default=Path("calibration.json"), help="default: calibration.json")
    parser.add_argument(
        "--policy",
        choices=("conditional", "paper"),
        default="conditional",
        help="conditional: cost above legitimate queries with the same answer; paper: distance from the mean cost"
        " (default: conditional)",
    )
    parser.add_argument("--preprocess", metavar="FILE.py:FUNCTION", help="for victims without a preprocess")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated users (default: 0)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from calpow.archiver.calibrator import calibrate

    order = Order(
        victim=args.victim,
        ensemble=args.ensemble,
        data=args.data,
        output=args.output,
        policy=args.policy,
        preprocess=args.preprocess,
        seed=args.seed,
    )
    made = calibrate(order)
    made.save(order.output)
    print(f"{order.output}: {_summary(made)}")
    return 0


def _summary(made: "Calibration") -> str:
    facts, policy = made.provenance, made.policy.value
    floor, latency = float(facts["floor_puzzle_seconds"]), made.latency_seconds
    mean, percentile = (float(facts[f"{policy}_users_{name}_multiple"]) for name in ("mean", "99th_percentile"))
    return f"""policy {policy}, from {facts["samples"]} samples of {made.shape.classes} classes
  unprotected, a sample takes {1e3 * latency:.2f} ms; the least puzzle takes {1e3 * floor:.2f} ms, \
{made.solver.work(made.floor_seconds):,.0f} hashes
  simulated legitimate users take {1 + mean * floor / latency:.2f} times the unprotected latency in the mean, \
{1 + percentile * floor / latency:.2f} at the 99th percentile
  (the dearest of all profiles: {facts[f"{policy}_dearest_users"]})"""
