"""How long the reference client takes for puzzles of one kind on this machine."""

import itertools
import math
import secrets
import time
from dataclasses import dataclass

from tqdm import tqdm

from calpow.archiver.fitting import fit_line
from calpow.handler.policies import SolverFit
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.profiles import Kind
from calpow.puzzle.puzzle import MAX_BITS, Puzzle
from calpow.puzzle.solver import solve

# Sizes are timed that take about as long as this, in powers of two, 16 stamps to a puzzle, and not fewer than three.
SHORTEST_SECONDS = 0.001
LONGEST_SECONDS = 0.5
FEWEST_SIZES = 3
STAMPS = 16
# In each round small puzzles are solved as often as takes no longer than the largest one, up to so many times: luck is
# a quarter of one puzzle's time, and 1 % of the mean over the thousands of stamps that this comes to.
ROUNDS = 6
MOST_TIMES = 16
PROBE_SECONDS = 0.05
# The floor's puzzle is solved until its mean is known to 2 %, but no longer than this.
FLOOR_STAMPS = 4_000
FLOOR_SECONDS = 2.0
FLOOR_TRIALS = 2


class TimingError(CalpowError):
    """Puzzles of this kind take too long for what is to be protected."""


@dataclass(frozen=True)
class Floor:
    """Seconds to ask for by the solver's fit, and the mean seconds that the puzzle then took."""

    seconds: float
    measured: float


def mean_solving_seconds(kind: Kind, work: float) -> float:
    """Mean time of the reference client for the puzzle of this work."""
    begun = time.perf_counter()
    for solved in itertools.count(1):
        puzzle = kind.puzzle(work, secrets.token_hex(8))
        _solve(puzzle)
        spent = time.perf_counter() - begun
        if solved * puzzle.count >= FLOOR_STAMPS or spent >= FLOOR_SECONDS:
            return spent / solved
    raise AssertionError


def measure_solver(kind: Kind) -> SolverFit:
    """Fit leading zero bits on log seconds, as the reference client solves on this machine.

    How lucky each puzzle was nobody tells, so time is first fitted on the hashes that were expected, over thousands of
    stamps; the line then goes through the times that the sizes take in the mean. All sizes take turns: other load on
    the machine tilts nothing.
    """
    sizes = _sizes(kind)
    a_round = [bits for bits in sizes for _ in range(min(MOST_TIMES, 1 << (sizes[-1] - bits)))]
    asked = tqdm(a_round * ROUNDS, desc="solver", unit="puzzle", disable=None)
    timed = [(float(STAMPS << bits), _time(kind, bits)) for bits in asked]
    # A puzzle's luck grows with its size.
    pace = fit_line([work for work, _ in timed], [spent for _, spent in timed], [work**-2 for work, _ in timed])
    works = [float(STAMPS << bits) for bits in sizes]
    seconds = [max(pace.intercept, 0.0) + pace.slope * work for work in works]
    line = fit_line([math.log(each) for each in seconds], [math.log2(work) for work in works])
    return SolverFit(line.slope, line.intercept, 1.0 / pace.slope)


def _sizes(kind: Kind) -> range:
    """Bits of the sizes to time, by how fast puzzles of this kind are solved here."""
    for bits in range(1, MAX_BITS):
        spent = _time(kind, bits)
        if spent >= PROBE_SECONDS:
            break
    lowest = max(1, bits + math.ceil(math.log2(SHORTEST_SECONDS / spent)))
    highest = bits + math.floor(math.log2(LONGEST_SECONDS / spent))
    return range(lowest, max(highest + 1, lowest + FEWEST_SIZES))


def _time(kind: Kind, bits: int) -> float:
    """Seconds that one puzzle took."""
    puzzle = Puzzle(kind.algorithm, secrets.token_hex(8), bits, STAMPS, kind.cost)
    begun = time.perf_counter()
    _solve(puzzle)
    return time.perf_counter() - begun


def _solve(puzzle: Puzzle) -> None:
    solve(puzzle, workers=1)


def measure_floor(kind: Kind, seconds: float, solver: SolverFit) -> Floor:
    """Find the floor whose puzzle, as solved here, takes at most `seconds` in the mean.

    Small puzzles have overheads that a line through all sizes does not show, and sizes come in steps. Raises
    TimingError when also the least puzzle of this kind takes longer.
    """
    # A little less than is allowed: a size is half a step away at most, and the mean is not known exactly.
    aim = seconds * (0.99 - 0.5 / kind.least_stamps)
    floor = aim
    for _ in range(FLOOR_TRIALS):
        floor *= aim / mean_solving_seconds(kind, solver.work(floor))
    measured = mean_solving_seconds(kind, solver.work(floor))
    least = kind.puzzle(0.0, "least").expected_hashes
    if measured > seconds and kind.puzzle(solver.work(floor), "floor").expected_hashes == least:
        raise TimingError(
            f"the least puzzle of {kind.algorithm} takes {1e3 * measured:.2g} ms here, and a legitimate user may solve"
            f" for {1e3 * seconds:.2g} ms: choose another --puzzle, or a larger --overhead-budget"
        )
    return Floor(floor, measured)
