"""`calpow simulate`: the time that recorded attacks would have taken with proof of work."""

import math
import sys
from pathlib import Path

import click

from calpow.archiver.cli.option_types import FILE, NumberRange
from calpow.archiver.errors import OrderError

_EPILOG = """\b
Example (a standard user and a thief, both made up):
  printf '%s\\n' queries,privacy 1000,250 2000,505 3000,760 > legitimate.csv
  printf '%s\\n' 'mode,time (sec),accuracy,diff queries,privacy cost' \\
    thief,0.2,10,0,0 thief,7.4,61,16,530 thief,14.7,78,16,1060 thief,22.1,83,16,1590 > attacks.csv
  calpow simulate --policy paper --baseline legitimate.csv --trace attacks.csv

The baseline's columns are what a standard user has asked (queries) and cost (privacy) by then. Each row of the trace is
a step of the attack that `mode` names, with one puzzle: queries asked in it (1 for each 62.5, as the paper's traces
count), and seconds, cost and accuracy (%) by then. An attack's first row is before its first query.
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--policy",
    type=click.Choice(("paper", "bounds")),
    default="paper",
    show_default=True,
    help="The rule: distance from a standard user, or from the band between two (--upper-baseline).",
)
@click.option(
    "--baseline",
    type=FILE,
    required=True,
    metavar="FILE.csv",
    help="Of a standard user; with --policy bounds, of the cheapest.",
)
@click.option("--upper-baseline", "upper", type=FILE, metavar="FILE.csv", help="Of the dearest user, for bounds.")
@click.option(
    "--trace",
    type=FILE,
    required=True,
    metavar="FILE.csv",
    help="Of the attacks.",
)
@click.option("--attack", metavar="NAME", help="Replay this one only.")
@click.option(
    "--queries",
    type=NumberRange(min=0),
    metavar="N",
    help="Stop each attack before it exceeds this number (default: never).",
)
@click.option(
    "--base",
    type=NumberRange(min=1, max=math.inf, max_open=True),
    default=1.0075,
    show_default=True,
    metavar="A",
    help="The rule's a, at least 1.",
)
@click.option(
    "--min-seconds",
    type=NumberRange(min=0, min_open=True, max=math.inf, max_open=True),
    default=0.1,
    show_default=True,
    metavar="S",
    help="Least time of a puzzle.",
)
@click.option(
    "--max-seconds",
    type=NumberRange(min=1, max=math.inf, max_open=True),
    default=2948.467908,
    show_default=True,
    metavar="S",
    help="Longest time of a puzzle, at least 1.",
)
@click.option(
    "--bits",
    is_flag=True,
    help="Also report leading zero bits, by the line fitted to the reference client's times on this machine.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Also write every step of every attack.",
)
def simulate(
    policy: str,
    baseline: Path,
    upper: Path | None,
    trace: Path,
    attack: str | None,
    queries: float | None,
    base: float,
    min_seconds: float,
    max_seconds: float,
    bits: bool,
    output: Path | None,
) -> None:
    """Replay recorded attacks under the paper's rule and print each one's time before and after proof of work.

    The rule sets a puzzle of a^x seconds at each step, x the distance of what the attack has cost from what a standard
    user would have.
    """
    from calpow.archiver.replay import simulation

    if (policy == "bounds") != (upper is not None):
        raise OrderError("--policy bounds and --upper-baseline belong together: give both, or neither")
    order = simulation.SimulationOrder(
        baseline=baseline,
        trace=trace,
        upper=upper,
        attack=attack,
        queries=math.inf if queries is None else queries,
        base=base,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        bits=bits,
    )
    replayed = simulation.simulate(order)
    if replayed.left_out:
        message = simulation.describe_left_out(replayed.left_out, order.queries)
        print(f"Left out: {message}.", file=sys.stderr)
    print(replayed.table())
    if output:
        replayed.write_steps(output)
