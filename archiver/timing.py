"""How long the reference client takes for a puzzle on this machine."""

import itertools
import math
import secrets
import time
from dataclasses import dataclass

from tqdm import tqdm

from calpow.archiver.fitting import fit_line
from calpow.handler.policies import SolverFit
from calpow.puzzle.difficulty import puzzle_size
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solver import solve
from calpow.puzzle.stamp import Stamp

ALGORITHM = "hashcash-sha1"
# Stamps of these sizes are solved, 16 to a puzzle: 2,048 to 1,048,576 hashes.
BITS = range(7, 17)
STAMPS = 16
ROUNDS = 8
# The floor's puzzle is solved until its mean is known to 2 %, but no longer than this.
FLOOR_STAMPS = 4_000
FLOOR_SECONDS = 2.0
FLOOR_TRIALS = 2
# Aimed at a little less than is allowed: sizes come in steps of up to 1/16, and the mean is not known exactly.
FLOOR_MARGIN = 0.96


@dataclass(frozen=True)
class Floor:
    """Seconds to ask for by the solver's fit, and the mean seconds that the puzzle then took."""

    seconds: float
    measured: float


def mean_solving_seconds(work: float) -> float:
    """Mean time of the reference client for the puzzle of this work."""
    bits, count = puzzle_size(work)
    begun = time.perf_counter()
    for solved in itertools.count(1):
        solve(Puzzle(ALGORITHM, secrets.token_hex(8), bits, count))
        spent = time.perf_counter() - begun
        if solved * count >= FLOOR_STAMPS or spent >= FLOOR_SECONDS:
            return spent / solved
    raise AssertionError


def measure_solver() -> SolverFit:
    """Fit leading zero bits on log seconds, as the reference client solves on this machine.

    How lucky each puzzle was is known, so time is first fitted on the hashes that were made; the line then goes
    through the times that the sizes take in the mean. All sizes take turns: other load on the machine tilts nothing.
    """
    puzzles = [Puzzle(ALGORITHM, secrets.token_hex(8), bits, STAMPS) for bits in BITS]
    asked = tqdm(puzzles * ROUNDS, desc="solver", unit="puzzle", disable=None)
    timed = [(puzzle.expected_hashes, *time_puzzle(puzzle)) for puzzle in asked]
    weights = [1.0 / expected**2 for expected, _, _ in timed]
    pace = fit_line([hashes for _, hashes, _ in timed], [seconds for _, _, seconds in timed], weights)
    works = [float(puzzle.expected_hashes) for puzzle in puzzles]
    seconds = [max(pace.intercept, 0.0) + pace.slope * work for work in works]
    line = fit_line([math.log(each) for each in seconds], [math.log2(work) for work in works])
    return SolverFit(line.slope, line.intercept, 1.0 / pace.slope)


def time_puzzle(puzzle: Puzzle) -> tuple[int, float]:
    """Hashes that the solver made and seconds it took."""
    begun = time.perf_counter()
    stamps = solve(puzzle)
    spent = time.perf_counter() - begun
    # The reference client counts from 0, in hexadecimal.
    return sum(int(Stamp.parse(stamp).counter, 16) + 1 for stamp in stamps), spent


def measure_floor(seconds: float, solver: SolverFit) -> Floor:
    """Find the floor whose puzzle, as solved here, takes at most `seconds` in the mean.

    Small puzzles have overheads that a line through all sizes does not show, and sizes come in steps.
    """
    aim = seconds * FLOOR_MARGIN
    floor = aim
    for _ in range(FLOOR_TRIALS):
        floor *= aim / mean_solving_seconds(solver.work(floor))
    return Floor(floor, mean_solving_seconds(solver.work(floor)))
