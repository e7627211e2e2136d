"""Work of attacks' first answers, really solved by the reference client's solver, beside its expected hashes.

The puzzles are those that a worker would ask for: of the default kind, nearest to the price. What comes after the limit
is counted in expected hashes.
"""

import csv
import dataclasses
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS
from benchmarks.results.exhibit import table
from calpow.archiver.calibration.samples import Floats
from calpow.archiver.progress import progress
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES
from calpow.puzzle.solving.engines import FAST
from calpow.puzzle.solving.solver import run_solver

# Hashes that the reference client takes in a second on one core, where docs/measured.md timed it.
REFERENCE_RATE = 132_000_000
HEADER = ("domain", "seed", "attack", "answers", "solved", "expected", "tried", "seconds", "all expected")
KIND = PROFILES[DEFAULT_PROFILE].kind
_COLUMNS = ("attack", "queries", "answers", "solved", "expected hashes", "tried", "of expected", "s", "all expected")


@dataclass(frozen=True)
class SolvedWork:
    """The work of an attack's answers, of which the first `solved` were solved.

    expected, tried: the hashes of the solved ones, as they are expected and as the solver took them, in `seconds`.
    all_expected: the expected hashes of all answers.
    """

    attack: str
    answers: int
    solved: int
    expected: int
    tried: int
    seconds: float
    all_expected: int


def solve_first(attack: str, prices: Floats, floor_seconds: float, limit: int) -> SolvedWork:
    """Solve the puzzles of an attack's answers of these prices in floors, as long as they expect `limit` hashes."""
    floor = floor_seconds * REFERENCE_RATE
    puzzles = [KIND.puzzle(price * floor, uuid.uuid4().hex) for price in prices.tolist()]
    work = SolvedWork(attack, len(puzzles), 0, 0, 0, 0.0, sum(puzzle.expected_hashes for puzzle in puzzles))
    with progress(f"solving, {ATTACK_KINDS[attack].row}", "answer", len(puzzles)) as advance:
        for puzzle in puzzles:
            if work.expected + puzzle.expected_hashes > limit:
                break
            run = run_solver(puzzle, FAST, workers=1)
            puzzle.verify(run.stamps)
            work = dataclasses.replace(
                work,
                solved=work.solved + 1,
                expected=work.expected + puzzle.expected_hashes,
                tried=work.tried + run.digests,
                seconds=work.seconds + run.seconds,
            )
            advance(1)
    return work


def write_solved(domain: str, seed: int, works: Sequence[SolvedWork], folder: Path) -> Path:
    """Write solved-DOMAIN-SEED.csv into a folder and return its path."""
    path = folder / f"solved-{domain}-{seed}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows((domain, seed, *dataclasses.astuple(work)) for work in works)
    return path


def solved_table(domain: str, seed: int, works: Sequence[SolvedWork]) -> Iterator[str]:
    """Yield the lines of a table of attacks whose first answers were solved."""
    rows = [
        (
            *(ATTACK_KINDS[work.attack].title, ATTACK_KINDS[work.attack].data, f"{work.answers:,}", f"{work.solved:,}"),
            *(f"{work.expected:,}", f"{work.tried:,}", f"{work.tried / work.expected:.3f}" if work.solved else ""),
            *(f"{work.seconds:.1f}", f"{work.all_expected:,}"),
        )
        for work in works
    ]
    yield f"### {domain}, division {seed}: puzzles of the first answers, solved"
    yield ""
    yield from table(_COLUMNS, rows, texts=2)
    yield ""
