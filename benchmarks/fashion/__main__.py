"""Measure what honest users and thieves pay on Fashion-MNIST under the default policy, and the time of pricing.

python -m benchmarks.fashion                            three seeds, about an hour on one core
python -m benchmarks.fashion --quick                    one seed on few samples, to see that it runs
python -m benchmarks.fashion --only timing              what pricing takes, on an idle machine
python -m benchmarks.fashion --output docs/measured.md  the tables as Markdown

Exits with 1 when a requirement is missed (never with --quick, whose few samples leave attackers room), with 2 when it
cannot be measured.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.fashion import costs, timing
from benchmarks.fashion.policies import CHOICES, DEFAULT, PAIRS, measure_all
from benchmarks.fashion.requirements import Requirement, of_policy, of_timing, requirement_table
from benchmarks.fashion.tables import policy_tables, timing_tables
from benchmarks.fashion.victim import Home, build, build_independent
from calpow.puzzle.errors import CalpowError

ROOT = Path(__file__).resolve().parents[2]
FULL = costs.Sizes(half=5_000, strangers=2_000, shifted=2_000)
QUICK = costs.Sizes(half=1_000, strangers=300, shifted=300)
POLICIES, TIMING = "policies", "timing"
FELL_SHORT = 1


def main() -> int:
    """Measure, and print the tables and the requirements that are missed."""
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="benchmarks.fashion",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "demo" / "fashion", help="where victims and teachers are kept"
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one seed and few samples: no figures to rely on")
    parser.add_argument("--only", choices=(POLICIES, TIMING), help="only what users pay, or only what pricing takes")
    parser.add_argument(
        "--independent", action="store_true", help="train the paper's 250 networks, too: about ten minutes"
    )
    parser.add_argument("--output", type=Path, help="file to write the tables into, as Markdown")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error("--seeds: give at least one")
    torch.set_num_threads(1)
    try:
        lines, requirements = _measure(args)
    except CalpowError as problem:
        parser.error(str(problem))
    text = "\n".join([*requirement_table(requirements), *lines])
    print(text)
    if args.output:
        args.output.write_text(text)
    missed = [requirement.what for requirement in requirements if not requirement.holds]
    if missed:
        print(f"falls short: {'; '.join(missed)}", file=sys.stderr)
    return FELL_SHORT if missed and not args.quick else 0


def _measure(args: argparse.Namespace) -> tuple[list[str], list[Requirement]]:
    args.folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    requirements: list[Requirement] = []
    for tables, limits in _parts(args):
        lines += tables
        requirements += limits
    return lines, requirements


def _parts(args: argparse.Namespace) -> Iterator[tuple[Iterator[str], Iterator[Requirement]]]:
    folder = args.folder.resolve()
    if args.only != TIMING:
        choices = (DEFAULT, *PAIRS[:1]) if args.quick else CHOICES
        results = []
        for seed in range(1 if args.quick else args.seeds):
            home = Home(folder, seed)
            build(home)
            results.append(measure_all(choices, costs.price(home, QUICK if args.quick else FULL), seed))
        yield policy_tables(results, choices), of_policy(results)
    if args.only != POLICIES:
        home = Home(folder, 0)
        build(home)
        if args.independent:
            build_independent(home)
        timings = timing.measure(home, quick=args.quick)
        yield timing_tables(timings), of_timing(timings)


if __name__ == "__main__":
    raise SystemExit(main())
