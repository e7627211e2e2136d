"""Measure what honest users and thieves pay, on several kinds of data, under a policy calibrated by default.

python -m benchmarks.range                                 every domain, three seeds: some hours on one core
python -m benchmarks.range --domain digits --seed 4        one domain, one division into calibration and users
python -m benchmarks.range --domain fashion --tolerate noise shift flip    what it costs to tolerate flips
python -m benchmarks.range --policy paper                  the paper's policy

Scores, fits and figures are kept in ~/.cache/calpow-range; what is there already, of the same code, is not computed
again. Exits with 1 when a row that must be reached is missed, with 2 when it cannot be measured.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.range.cache import DataMissing
from benchmarks.range.catalogue import DOMAINS
from benchmarks.range.trials.judgement import Judgement, judge
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
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="benchmarks.range",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--domain", nargs="+", choices=tuple(DOMAINS), default=tuple(DOMAINS), metavar="DOMAIN")
    parser.add_argument("--seed", nargs="+", type=int, default=UNSEEN, help="of the halves (default: 4 5 6)")
    parser.add_argument("--tolerate", nargs="*", choices=tuple(TOLERANCES), help="changes (default: as a calibration)")
    parser.add_argument("--policy", choices=POLICIES, default=EVIDENCE, help=f"(default: {EVIDENCE})")
    parser.add_argument("--output", type=Path, default=ROOT / "demo" / "range", help="folder of the tables")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.output.mkdir(parents=True, exist_ok=True)
    missed = False
    for name in args.domain:
        try:
            domain = DOMAINS[name](VICTIM_SEED)
            judgements = [judge(domain, seed, args.policy, args.tolerate) for seed in args.seed]
        except (CalpowError, DataMissing) as problem:
            parser.error(f"{name}: {problem}")
        _write(args.output / f"{name}-{args.policy}", judgements)
        for row in failures(name, judgements):
            print(f"{name}: {row} is missed", file=sys.stderr)
            missed = True
    return FELL_SHORT if missed else 0


def _write(stem: Path, judgements: Sequence[Judgement]) -> None:
    """Write the tables of a domain as STEM.md and STEM.csv, and print them."""
    text = "\n".join(domain_tables(judgements))
    print(text, flush=True)
    stem.with_name(f"{stem.name}.md").write_text(text, "utf-8")
    with stem.with_name(f"{stem.name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_HEADER)
        for judgement in judgements:
            writer.writerows(csv_rows(judgement))


if __name__ == "__main__":
    raise SystemExit(main())
