"""Steal copies of the range's victims by the paper's attacks, and print what they cost under both policies.

python -m benchmarks.attacks --domain digits                                    all attacks
python -m benchmarks.attacks --domain digits --attack knockoff-random copycat   two of them
python -m benchmarks.attacks --domain mnist --answers 1000 5000 10000 --seed 4 5 6
python -m benchmarks.attacks --domain mnist --attack datafree --answers 2000000 the paper's budget

Ten attacks on the digits, with 300, 1,000 and 10,000 answers, took half an hour on two busy cores: seconds for most,
five minutes for knockoff-adaptive with 10,000 answers, some minutes for active learning, which trains ten copies.

Every attack and number of answers is kept in ~/.cache/calpow-range (CALPOW_RANGE), so that a run that was ended goes on
where it was. The domain's victim has to be there: python -m benchmarks.range.prepare. Exits with 1 when an attack that
has to cost 100 floors an answer costs less.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from benchmarks.attacks.attack_figures import AttackTrial, missed_musts
from benchmarks.attacks.attack_tables import CSV_HEADER, theft_rows, theft_tables
from benchmarks.attacks.paper_attacks import paper_attacks
from benchmarks.attacks.thief import FOREIGN
from benchmarks.range.cache import DataMissing
from benchmarks.range.catalogue import DOMAINS
from benchmarks.range.trials.protection import VICTIM_SEED
from calpow.puzzle.errors import CalpowError

ROOT = Path(__file__).resolve().parents[2]
FELL_SHORT = 1
ANSWERS = (300, 1_000, 5_000, 10_000)
# Divisions by which nothing was chosen.
UNSEEN = (4,)
MUST_FLOORS = 100.0
FLOOR_SECONDS = 1e-3


def main() -> int:
    """Run the attacks on one domain and division after another; write the tables of each."""
    description, _, examples = (__doc__ or "").partition("\n\n")
    attacks = tuple(paper_attacks("digits"))
    parser = argparse.ArgumentParser(
        prog="benchmarks.attacks",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--domain", nargs="+", choices=tuple(FOREIGN), required=True, metavar="DOMAIN")
    parser.add_argument(
        "--attack", nargs="+", choices=attacks, default=attacks, metavar="ATTACK", help=_listed(attacks)
    )
    parser.add_argument("--answers", nargs="+", type=int, default=ANSWERS, help="(default: 300 1000 5000 10000)")
    parser.add_argument("--seed", nargs="+", type=int, default=UNSEEN, help="of the division of the data (default: 4)")
    seconds = f"seconds of the reference client that a floor takes (default: {FLOOR_SECONDS})"
    parser.add_argument("--floor-seconds", type=float, default=FLOOR_SECONDS, help=seconds)
    parser.add_argument("--output", type=Path, default=ROOT / "demo" / "attacks", help="folder of the tables")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    missed = False
    for name in args.domain:
        try:
            for seed in args.seed:
                missed |= _steal(name, seed, args)
        except (CalpowError, DataMissing) as problem:
            parser.error(f"{name}: {problem}")
    return FELL_SHORT if missed else 0


def _steal(name: str, seed: int, args: argparse.Namespace) -> bool:
    """Write the tables of a domain and a division; return whether an attack is too cheap, after it has been named."""
    trial = AttackTrial(DOMAINS[name](VICTIM_SEED), seed)
    theft = trial.theft(args.attack, sorted(args.answers))
    _write(args.output / f"{name}-{seed}", theft_tables(theft, args.floor_seconds), theft_rows(theft))
    missed = list(missed_musts(theft, MUST_FLOORS))
    for row in missed:
        print(f"{name} {seed}: {row}, not {MUST_FLOORS:.0f}", file=sys.stderr)
    return bool(missed)


def _write(stem: Path, lines: Iterable[str], rows: Iterable[Sequence[object]]) -> None:
    """Write tables as STEM.md and rows as STEM.csv, and print the tables."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines)
    print(text, flush=True)
    stem.with_name(f"{stem.name}.md").write_text(text, "utf-8")
    with stem.with_name(f"{stem.name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_HEADER)
        writer.writerows(rows)


def _listed(attacks: Sequence[str]) -> str:
    return f"(default: all of {', '.join(attacks)})"


if __name__ == "__main__":
    raise SystemExit(main())
