"""`calpow simulate`: what attacks that were recorded would have taken with proof of work."""

import argparse
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calpow.puzzle.errors import CalpowError
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES

if TYPE_CHECKING:
    from calpow.archiver.replay.paper_rule import Paid
    from calpow.archiver.replay.traces import Step
    from calpow.handler.policy.policies import SolverFit

EPILOG = """\
Example (a standard user and a thief, both made up):
  printf '%s\\n' queries,privacy 1000,250 2000,505 3000,760 > legitimate.csv
  printf '%s\\n' 'mode,time (sec),accuracy,diff queries,privacy cost' \\
    thief,0.2,10,0,0 thief,7.4,61,16,530 thief,14.7,78,16,1060 thief,22.1,83,16,1590 > attacks.csv
  calpow simulate --policy paper --baseline legitimate.csv --trace attacks.csv

The baseline's columns are what a standard user has asked (queries) and cost (privacy) by then. Each row of the trace
is a step of the attack that `mode` names, with one puzzle: queries asked in it (1 for each 62.5, as the paper's
traces count), and seconds, cost and accuracy (%) by then. An attack's first row is before its first query.
"""
_COLUMNS = ("attack", "queries", "accuracy (%)", "before (s)", "after PoW (s)", "multiple")

# An attack's name and its steps as replayed.
Replayed = Mapping[str, "tuple[Paid, ...]"]


class SimulationError(CalpowError):
    """What was asked cannot be replayed."""


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `calpow simulate`."""
    parser = subparsers.add_parser(
        "simulate",
        help="replay recorded attacks: their time before and after proof of work",
        description="Replay recorded attacks under the paper's rule and print each one's time before and after proof"
        " of work: a puzzle of a^x seconds at each step, x the distance of what the attack has cost from what a"
        " standard user would have.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--policy", choices=("paper",), default="paper", help="the rule to replay (default: paper)")
    parser.add_argument("--baseline", type=Path, required=True, metavar="FILE.csv", help="of a standard user")
    parser.add_argument("--trace", type=Path, required=True, metavar="FILE.csv", help="of the attacks")
    parser.add_argument("--attack", metavar="NAME", help="replay this one only")
    parser.add_argument("--queries", type=float, metavar="N", help="stop each attack after so many (default: never)")
    parser.add_argument("--base", type=float, default=1.0075, metavar="A", help="the rule's a (default: 1.0075)")
    parser.add_argument(
        "--min-seconds", type=float, default=0.1, metavar="S", help="least time of a puzzle (default: 0.1)"
    )
    parser.add_argument(
        "--max-seconds", type=float, default=2948.467908, metavar="S", help="longest puzzle (default: 2948.467908)"
    )
    parser.add_argument(
        "--bits",
        action="store_true",
        help="also report leading zero bits, by the line fitted to the reference client's times on this machine",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="also write every step of every attack")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from calpow.archiver.replay.paper_rule import fit_rule, replay
    from calpow.archiver.replay.traces import read_baseline, read_trace

    _check(args)
    attacks = _chosen(read_trace(args.trace), args.attack)
    rule = fit_rule(read_baseline(args.baseline), args.base, args.min_seconds, args.max_seconds)
    upto = math.inf if args.queries is None else args.queries
    replayed = _begun({name: replay(rule, steps, upto) for name, steps in attacks.items()}, upto)
    solver = _fastest_solver() if args.bits else None
    print(_table(replayed, solver))
    if args.output:
        _write(args.output, replayed, solver)
    return 0


def _check(args: argparse.Namespace) -> None:
    if not 1 <= args.base < math.inf:
        raise SimulationError(f"--base is {args.base:g}: give a finite number of at least 1")
    if not 0 < args.min_seconds <= args.max_seconds < math.inf:
        raise SimulationError(
            f"puzzles from {args.min_seconds:g} to {args.max_seconds:g} seconds cannot be: give --min-seconds above 0"
            " and --max-seconds no smaller"
        )
    if args.max_seconds < 1:
        raise SimulationError(f"--max-seconds is {args.max_seconds:g}: a standard user's puzzle takes 1 second")
    if args.queries is not None and not args.queries >= 0:
        raise SimulationError(f"--queries is {args.queries:g}: give a number of at least 0")


def _chosen(attacks: "Mapping[str, tuple[Step, ...]]", name: str | None) -> "Mapping[str, tuple[Step, ...]]":
    if name is None:
        return attacks
    if name not in attacks:
        raise SimulationError(f"the trace has no attack {name!r}: there are {', '.join(attacks)}")
    return {name: attacks[name]}


def _begun(replayed: Replayed, queries: float) -> Replayed:
    """Without the attacks whose first step already takes more queries."""
    left_out = [name for name, steps in replayed.items() if not steps]
    said = f"more than {queries:,g} queries in the first step of {', '.join(left_out)}"
    if len(left_out) == len(replayed):
        raise SimulationError(f"{said}: give a larger --queries")
    if left_out:
        print(f"Left out: {said}.", file=sys.stderr)
    return {name: steps for name, steps in replayed.items() if steps}


def _fastest_solver() -> "SolverFit":
    from calpow.archiver.calibration.solver_timing import measure_solver, reference_client
    from calpow.puzzle.solving.engines import has_fast

    return measure_solver(reference_client(PROFILES[DEFAULT_PROFILE].kind, fast=has_fast()))


def _table(replayed: Replayed, solver: "SolverFit | None") -> str:
    rows = [_COLUMNS + (("bits at the end",) if solver else ())]
    for name, steps in replayed.items():
        last = steps[-1]
        numbers = (f"{last.queries:,.0f}", f"{last.accuracy:.1f}", f"{last.before:,.1f}", f"{last.after:,.1f}")
        rows.append((name, *numbers, f"{last.multiple:,.2f}", *(_bits(last, solver) if solver else ())))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = row
    cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join([name.ljust(widths[0]), *cells])


def _bits(step: "Paid", solver: "SolverFit") -> tuple[str]:
    return (f"{math.log2(solver.work(step.puzzle)):.2f}",)


def _write(path: Path, replayed: Replayed, solver: "SolverFit | None") -> None:
    header = ["attack", "queries", "cost", "accuracy", "seconds_before", "puzzle_seconds", "seconds_after"]
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header + (["bits"] if solver else []))
            for name, steps in replayed.items():
                for step in steps:
                    numbers = (step.queries, step.cost, step.accuracy, step.before, step.puzzle, step.after)
                    writer.writerow([name, *numbers, *(_bits(step, solver) if solver else ())])
    except OSError as problem:
        raise SimulationError(f"{path} cannot be written ({problem.strerror}): give another --output") from problem
