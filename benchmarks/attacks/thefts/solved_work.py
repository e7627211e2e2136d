"""Work of attacks' first answers, really solved by the reference client's solver, beside its expected hashes.

The puzzles are those that a worker would ask for: of the default kind, nearest to the price. What comes after the limit
is counted in expected hashes.
"""

import csv
import dataclasses
import math
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
HEADER = ("domain", "seed", "attack", "answers", "solved", "expected", "deviation", "tried", "seconds", "all expected")
KIND = PROFILES[DEFAULT_PROFILE].kind
_COLUMNS = (
    "attack",
    "queries",
    "answers",
    "solved",
    "expected hashes",
    "tried",
    "of expected",
    "+-",
    "s",
    "all expected",
)


@dataclass(frozen=True)
class SolvedWork:
    """The work of an attack's answers, of which the first `solved` were solved.

    expected, tried: the hashes of the solved ones, as they are expected, with their standard deviation, and as the
    solver took them, in `seconds`. all_expected: the expected hashes of all answers.
    """

    attack: str
    answers: int
    solved: int
    expected: int
    deviation: float
    tried: int
    seconds: float
    all_expected: int


def solve_first(attack: str, prices: Floats, floor_seconds: float, limit: int) -> SolvedWork:
    """Solve the puzzles of an attack's answers of these prices in floors, as long as they expect `limit` hashes."""
    floor = floor_seconds * REFERENCE_RATE
    puzzles = [KIND.puzzle(price * floor, uuid.uuid4().hex) for price in prices.tolist()]
    work = SolvedWork(attack, len(puzzles), 0, 0, 0.0, 0, 0.0, sum(puzzle.expected_hashes for puzzle in puzzles))
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
                # Of each stamp, it is as large as its expected hashes.
                deviation=math.hypot(work.deviation, math.sqrt(puzzle.count) * 2**puzzle.bits),
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
        for work in works:
            rounded = dataclasses.replace(work, deviation=round(work.deviation), seconds=round(work.seconds, 3))
            writer.writerow((domain, seed, *dataclasses.astuple(rounded)))
    return path


def read_solved(folder: Path, domain: str) -> dict[int, list[SolvedWork]]:
    """Return what was solved of a domain's attacks, by division."""
    found: dict[int, list[SolvedWork]] = {}
    for path in sorted(folder.glob(f"solved-{domain}-*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                answers, solved, expected, tried, every = (
                    int(row[name]) for name in ("answers", "solved", "expected", "tried", "all expected")
                )
                deviation, seconds = float(row["deviation"]), float(row["seconds"])
                work = SolvedWork(row["attack"], answers, solved, expected, deviation, tried, seconds, every)
                found.setdefault(int(row["seed"]), []).append(work)
    return found


def solved_sentence(works: Sequence[SolvedWork]) -> str:
    """Return a sentence on the puzzles of several attacks that were solved."""
    expected, tried = sum(work.expected for work in works), sum(work.tried for work in works)
    solved, seconds = sum(work.solved for work in works), sum(work.seconds for work in works)
    if not expected:
        return f"No puzzle of {len(works)} attacks was small enough to be solved: give a larger --solve."
    chance = math.hypot(*[work.deviation for work in works]) / expected
    return (
        f"Really solved, of the first answers of {len(works)} attacks: {solved:,} puzzles that expect"
        f" {expected / 1e9:,.2f} billion hashes took {tried / 1e9:,.2f} billion, {tried / expected:.3f} of it (chance:"
        f" 1 +- {chance:.3f}), and {seconds:,.0f} seconds of a busy core."
    )


def solved_table(domain: str, seed: int, works: Sequence[SolvedWork]) -> Iterator[str]:
    """Yield the lines of a table of attacks whose first answers were solved."""
    rows = [
        (
            *(ATTACK_KINDS[work.attack].title, ATTACK_KINDS[work.attack].data, f"{work.answers:,}", f"{work.solved:,}"),
            *(f"{work.expected:,}", f"{work.tried:,}", *_shares(work)),
            *(f"{work.seconds:.1f}", f"{work.all_expected:,}"),
        )
        for work in works
    ]
    yield f"### {domain}, division {seed}: puzzles of the first answers, solved"
    yield ""
    yield from table(_COLUMNS, rows, texts=2)
    yield ""


def _shares(work: SolvedWork) -> tuple[str, str]:
    """Return the hashes tried, and the deviation of chance, by the expected ones."""
    if not work.solved:
        return "", ""
    return f"{work.tried / work.expected:.3f}", f"{work.deviation / work.expected:.3f}"
