"""`calpow neighbours`: take training data into the victim's representation, for the metric pknn."""

import argparse
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = """example:
  calpow neighbours --victim victim.mar --data train --output neighbours.pt
  calpow calibrate --victim victim.mar --neighbours neighbours.pt --metric pknn entropy --data heldout

`train` is the data the victim was trained on: a folder a class, as for calpow teachers. A worker holds all of it in
memory, as the victim represents it.
"""


@dataclass(frozen=True)
class Order:
    """What to represent, and where to put it."""

    victim: Path
    data: Path
    output: Path
    k: int


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `calpow neighbours`."""
    parser = subparsers.add_parser(
        "neighbours",
        help="take training data into the victim's representation, for the metric pknn",
        description="Take training data into the victim's representation: the points nearest to a query vote on it"
        " (private kNN), so that the metric pknn needs no teachers.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--victim", type=Path, required=True, help="the .mar to protect")
    parser.add_argument("--data", type=Path, required=True, help="its training data, a folder a class")
    parser.add_argument("--output", type=Path, required=True, help="where to write the reference points")
    parser.add_argument("--k", type=int, default=250, help="how many of the nearest points vote (default: 250)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from calpow.archiver.reference_set import take

    card = take(Order(args.victim, args.data, args.output, args.k))
    size = args.output.stat().st_size / 1e6
    print(f"{args.output} ({size:.1f} MB): {card.points:,} points of {card.width} numbers, the nearest {card.k} vote")
    return 0
