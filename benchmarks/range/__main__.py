"""Measure what honest users and thieves pay, on several kinds of data, under a policy calibrated by default.

python -m benchmarks.range                                 every domain, three seeds: some hours on one core
python -m benchmarks.range --domain digits --seed 4        one domain, one division into calibration and users
python -m benchmarks.range --domain fashion --tolerate noise shift flip    what it costs to tolerate flips
python -m benchmarks.range --policy paper                  the paper's policy
python -m benchmarks.range --copies                        how good copies of the victims are, and what they cost

Scores, fits and figures are kept in ~/.cache/calpow-range; what is there already, of the same code, is not computed
again. Exits with 1 when a row that must be reached is missed, with 2 when it cannot be measured.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from benchmarks.command_line import command_parser
from benchmarks.range.cache import DataMissing
from benchmarks.range.catalogue import DOMAINS
from benchmarks.range.copies.copy_figures import domain_copies
from benchmarks.range.copies.copy_tables import COPIES_HEADER, copies_rows, copies_table
from benchmarks.range.copies.copying import RECIPES
from benchmarks.range.domain import RangeDomain
from benchmarks.range.trials.judgement import judge
from benchmarks.range.trials.must_tables import CSV_HEADER, csv_rows, domain_tables
from benchmarks.range.trials.musts import failures
from benchmarks.range.trials.policies import EVIDENCE, POLICIES
from benchmarks.range.trials.protection import VICTIM_SEED
from calpow.archiver.calibration.synthetic_inputs.tolerances import TOLERANCES
from calpow.puzzle.errors import CalpowError

ROOT = Path(__file__).resolve().parents[2]
FELL_SHORT = 1
# Divisions by which nothing was chosen.
UNSEEN = (4, 5, 6)


def main() -> int:
    """Judge the domains one after another, and write a table after each."""
    parser = command_parser("benchmarks.range", __doc__)
    parser.add_argument("--domain", nargs="+", choices=tuple(DOMAINS), default=tuple(DOMAINS), metavar="DOMAIN")
    parser.add_argument("--seed", nargs="+", type=int, default=UNSEEN, help="of the halves (default: 4 5 6)")
    parser.add_argument("--tolerate", nargs="*", choices=tuple(TOLERANCES), help="changes (default: as a calibration)")
    parser.add_argument("--policy", choices=POLICIES, default=EVIDENCE, help=f"(default: {EVIDENCE})")
    copies = "only train copies of these victims (default: of all), with the first seed and the defaults"
    parser.add_argument("--copies", nargs="*", choices=tuple(RECIPES), metavar="DOMAIN", help=copies)
    parser.add_argument("--output", type=Path, default=ROOT / "demo" / "range", help="folder of the tables")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.output.mkdir(parents=True, exist_ok=True)
    missed = False
    for name in args.domain if args.copies is None else args.copies or RECIPES:
        try:
            domain = DOMAINS[name](VICTIM_SEED)
            if args.copies is None:
                missed |= _judge(domain, args)
            else:
                _copy(domain, args)
        except (CalpowError, DataMissing) as problem:
            parser.error(f"{name}: {problem}")
    return FELL_SHORT if missed else 0


def _judge(domain: RangeDomain, args: argparse.Namespace) -> bool:
    """Write the tables of a domain's judgements; return whether a row is missed, after it has been named."""
    judgements = [judge(domain, seed, args.policy, args.tolerate) for seed in args.seed]
    rows = [row for judgement in judgements for row in csv_rows(judgement)]
    _write(args.output / f"{domain.name}-{args.policy}", domain_tables(judgements), CSV_HEADER, rows)
    missed = list(failures(domain.name, judgements))
    for row in missed:
        print(f"{domain.name}: {row} is missed", file=sys.stderr)
    return bool(missed)


def _copy(domain: RangeDomain, args: argparse.Namespace) -> None:
    """Write the table of the copies of a domain's victim."""
    copies = domain_copies(domain, args.seed[0])
    _write(args.output / f"{domain.name}-copies", copies_table(copies), COPIES_HEADER, copies_rows(copies))


def _write(stem: Path, lines: Iterable[str], header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write tables as STEM.md and rows as STEM.csv, and print the tables."""
    text = "\n".join(lines)
    print(text, flush=True)
    stem.with_name(f"{stem.name}.md").write_text(text, "utf-8")
    with stem.with_name(f"{stem.name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    raise SystemExit(main())
