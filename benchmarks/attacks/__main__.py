"""Steal copies of the range's victims by the paper's attacks, and print what they cost under both policies.

python -m benchmarks.attacks --domain digits                                    all attacks
python -m benchmarks.attacks --domain digits --attack knockoff-random copycat   two of them
python -m benchmarks.attacks --domain mnist --answers 1000 5000 10000 --seed 4 5 6
python -m benchmarks.attacks --domain mnist --attack datafree --answers 2000000 the paper's budget
python -m benchmarks.attacks --domain digits --costs                            by the scores of its Table 3, too
python -m benchmarks.attacks --domain digits --answers 300 --solve 4000000000   half a minute of solving an attack

Ten attacks on the digits, with 300, 1,000 and 10,000 answers, took half an hour on two busy cores: seconds for most,
five minutes for knockoff-adaptive with 10,000 answers, some minutes for active learning, which trains ten copies.

Writes DOMAIN-SEED.md and DOMAIN-SEED.csv, and DOMAIN.md with the means over several seeds. With --output
docs/results/attacks, the pages of the documentation are made of these files by
python -m benchmarks.attacks.thefts.attack_pages.

Every attack and number of answers is kept in ~/.cache/calpow-range (CALPOW_RANGE), so that a run that was ended goes on
where it was. The domain's victim has to be there: python -m benchmarks.range.prepare. Exits with 1 when an attack that
has to cost 100 floors an answer costs less.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.attacks.attack_figures import AttackTrial
from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS
from benchmarks.attacks.thefts.attack_tables import FLOOR_SECONDS, theft_tables
from benchmarks.attacks.thefts.score_files import write_score_costs
from benchmarks.attacks.thefts.solved_work import solve_first, solved_table, write_solved
from benchmarks.attacks.thefts.stolen_copies import DomainTheft, missed_musts
from benchmarks.attacks.thefts.theft_files import write_theft
from benchmarks.attacks.thief import FOREIGN
from benchmarks.command_line import command_parser
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


def main() -> int:
    """Run the attacks on one domain and division after another; write the tables of each."""
    attacks = tuple(ATTACK_KINDS)
    parser = command_parser("benchmarks.attacks", __doc__)
    parser.add_argument("--domain", nargs="+", choices=tuple(FOREIGN), required=True, metavar="DOMAIN")
    parser.add_argument(
        "--attack", nargs="+", choices=attacks, default=attacks, metavar="ATTACK", help=_listed(attacks)
    )
    parser.add_argument("--answers", nargs="+", type=int, default=ANSWERS, help="(default: 300 1000 5000 10000)")
    parser.add_argument("--seed", nargs="+", type=int, default=UNSEEN, help="of the division of the data (default: 4)")
    costs = "write costs-DOMAIN-SEED.csv, too: the queries by gap, entropy and pkNN; runs the attacks once more"
    parser.add_argument("--costs", action="store_true", help=costs)
    solve = "solve the puzzles of every attack's first answers, up to so many expected hashes; count those beyond"
    parser.add_argument("--solve", type=int, metavar="HASHES", help=f"{solve} (with the least of --answers)")
    seconds = f"seconds of the reference client that a floor takes (default: {FLOOR_SECONDS})"
    parser.add_argument("--floor-seconds", type=float, default=FLOOR_SECONDS, help=seconds)
    parser.add_argument("--output", type=Path, default=ROOT / "demo" / "attacks", help="folder of the tables")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    missed = False
    for name in args.domain:
        try:
            thefts = [_steal(name, seed, args) for seed in args.seed]
        except (CalpowError, DataMissing) as problem:
            parser.error(f"{name}: {problem}")
        if len(thefts) > 1:
            _write(args.output / f"{name}.md", thefts, args.floor_seconds)
        for theft in thefts:
            for row in missed_musts(theft, MUST_FLOORS):
                print(f"{name} {theft.seed}: {row}, not {MUST_FLOORS:.0f}", file=sys.stderr)
                missed = True
    return FELL_SHORT if missed else 0


def _steal(name: str, seed: int, args: argparse.Namespace) -> DomainTheft:
    """Return the copies of a domain and a division, after their tables and their CSV file are written."""
    trial = AttackTrial(DOMAINS[name](VICTIM_SEED), seed)
    theft = trial.theft(args.attack, sorted(args.answers))
    path = write_theft(theft, args.output)
    if args.costs:
        write_score_costs(trial.costs(args.attack, max(args.answers)), args.output)
    if args.solve:
        _solve(trial, theft, args)
    _write(path.with_suffix(".md"), [theft], args.floor_seconds)
    return theft


def _solve(trial: AttackTrial, theft: DomainTheft, args: argparse.Namespace) -> None:
    """Solve the puzzles of the attacks' first answers; write and print what that took."""
    works = [
        solve_first(name, trial.prices(name, min(args.answers)), args.floor_seconds, args.solve) for name in args.attack
    ]
    path = write_solved(theft.domain, theft.seed, works, args.output)
    text = "\n".join(solved_table(theft.domain, theft.seed, works))
    print(text, flush=True)
    path.with_suffix(".md").write_text(text, "utf-8")


def _write(path: Path, thefts: Sequence[DomainTheft], floor_seconds: float) -> None:
    """Write and print the tables of divisions of a domain."""
    text = "\n".join(theft_tables(thefts, floor_seconds))
    print(text, flush=True)
    path.write_text(text, "utf-8")


def _listed(attacks: Sequence[str]) -> str:
    return f"(default: all of {', '.join(attacks)})"


if __name__ == "__main__":
    raise SystemExit(main())
