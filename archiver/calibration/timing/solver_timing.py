"""Solving times of the reference client for puzzles of one kind, on one core of this machine."""

import itertools
import math
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from calpow.archiver.errors import TimingError
from calpow.archiver.fitted_line import fit_line
from calpow.archiver.progress import announce, track
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.installation import install_command
from calpow.puzzle.profiles import PuzzleKind
from calpow.puzzle.puzzle import MAX_BITS, Puzzle
from calpow.puzzle.solving.engines import Engine, engines_for
from calpow.puzzle.solving.solver import SolverRun, run_solver

# Puzzles of 16 stamps are timed whose solving takes between these times, at least three sizes in powers of two, and
# those of one bit.
SHORTEST_SECONDS = 0.001
LONGEST_SECONDS = 0.0625
FEWEST_SIZES = 3
STAMPS = 16
# In a round, small puzzles are solved several times: at most MOST_TIMES, and in no more time than the largest takes.
ROUNDS = 3
MOST_TIMES = 16
PROBE_SECONDS = 0.05
# Of the time of a stamp, its digests take at least this many times what its start takes, except where a puzzle has few
# stamps already. So digests take four fifths, and one line for puzzles of any number of stamps errs by a sixth at most.
# Decision 0047.
DIGESTS_TO_START = 4.0
# A puzzle is solved until its mean is known well, but for no longer than FLOOR_SECONDS. 4,000 stamps show it
# to 2 %, and far fewer do where digests, whose number is known, take most of the time.
FLOOR_STAMPS = 4_000
FLOOR_SECONDS = 0.5
# The search aims a little below the allowed time, since the mean is not known exactly. A floor is accepted when its
# measured time lies between FLOOR_LEAST of that and the allowed time: the load of the machine may have changed.
FLOOR_TRIALS = 8
FLOOR_AIM = 0.98
FLOOR_LEAST = 0.9


@dataclass(frozen=True)
class ReferenceClient:
    """The solver in whose time work is calibrated, for puzzles of one kind. Decision 0027."""

    kind: PuzzleKind
    engine: Engine

    def solve(self, puzzle: Puzzle) -> SolverRun:
        """Solve a puzzle on one core."""
        return run_solver(puzzle, self.engine, workers=1)

    def saving_starts(self, solver: SolverFit) -> "ReferenceClient":
        """Return the client for puzzles whose stamps are mostly digests, by its fit to puzzles of STAMPS stamps."""
        hashes = DIGESTS_TO_START * solver.start_seconds / STAMPS * solver.hashes_per_second
        bits = max(1, min(MAX_BITS, math.ceil(math.log2(max(hashes, 1.0)))))
        return replace(self, kind=replace(self.kind, least_bits=bits))


@dataclass(frozen=True)
class FloorPuzzle:
    """The least puzzle that is ever asked for: its expected hashes, and its mean solving time in seconds."""

    work: float
    seconds: float

    def on(self, solver: SolverFit) -> SolverFit:
        """Return the fit, shifted so that it is exact for the floor's puzzle."""
        start = self.seconds - self.work / solver.hashes_per_second
        if start < 0:  # the machine was slower while the fit was made
            return SolverFit(0.0, self.work / self.seconds)
        return SolverFit(start, solver.hashes_per_second)


def reference_client(kind: PuzzleKind, *, fast: bool) -> ReferenceClient:
    """Return the fastest client, or the one that every Python has. Raises TimingError if the first is not installed."""
    engines = engines_for(kind.algorithm)
    if fast and kind.cost is None and len(engines) < 2:
        raise TimingError(
            f"calpow[fast] is not installed or does not work here: {install_command('fast')}, or give"
            " --reference-client python, and a discount to thieves who have it"
        )
    return ReferenceClient(kind, engines[-1] if fast else engines[0])


def mean_solving_seconds(client: ReferenceClient, work: float) -> float:
    """Measure the mean seconds of the reference client for the puzzle of this work.

    The seconds are those of the expected number of digests, and not of as many as luck wanted.
    """
    begun = time.perf_counter()
    digests = 0
    for solved in itertools.count(1):
        puzzle = client.kind.puzzle(work, secrets.token_hex(8))
        digests += client.solve(puzzle).digests
        spent = time.perf_counter() - begun
        if solved * puzzle.count >= FLOOR_STAMPS or spent >= FLOOR_SECONDS:
            return spent * puzzle.expected_hashes / digests
    raise AssertionError


def measure_solver(client: ReferenceClient) -> SolverFit:
    """Fit a line through seconds over computed digests, so that luck with single puzzles does not matter.

    Its start is that of STAMPS stamps. Sizes take turns, so that other load on the machine affects all of them alike.
    """
    turns = track(_in_turns(_sizes(client)) * ROUNDS, "solver", "puzzle")
    timed = [(bits, _solve(client, bits)) for bits in turns]
    weights = _weights(timed)
    pace = fit_line([minted.digests for _, minted in timed], [minted.seconds for _, minted in timed], weights)
    if pace.slope <= 0:  # other load on the machine hides what a digest takes
        return SolverFit(0.0, sum(minted.digests for _, minted in timed) / sum(minted.seconds for _, minted in timed))
    return SolverFit(max(pace.intercept, 0.0), 1.0 / pace.slope)


def _weights(timed: Sequence[tuple[int, SolverRun]]) -> list[float]:
    """Return the weight of each run, so that the same relative error counts as much at every size."""
    seconds: dict[int, list[float]] = {}
    for bits, run in timed:
        seconds.setdefault(bits, []).append(run.seconds)
    return [1.0 / fmean(seconds[bits]) ** 2 for bits, _ in timed]


def _sizes(client: ReferenceClient) -> list[int]:
    """Return the bits of the sizes to time, by the speed of this client after a warm-up.

    The first is a single bit, which is all start.
    """
    _solve(client, 1)
    for bits in range(1, MAX_BITS):
        spent = _solve(client, bits).seconds
        if spent >= PROBE_SECONDS:
            break
    lowest = max(1, bits + math.ceil(math.log2(SHORTEST_SECONDS / spent)))
    highest = bits + math.floor(math.log2(LONGEST_SECONDS / spent))
    return sorted({1, *range(lowest, max(highest + 1, lowest + FEWEST_SIZES))})


def _in_turns(sizes: Sequence[int]) -> list[int]:
    """Return one round of bits: small sizes more often than large ones, each spread evenly over the round."""
    times = {bits: min(MOST_TIMES, 1 << (sizes[-1] - bits)) for bits in sizes}
    turns = [((index + 0.5) / count, bits) for bits, count in times.items() for index in range(count)]
    return [bits for _, bits in sorted(turns)]


def _solve(client: ReferenceClient, bits: int) -> SolverRun:
    """Solve one puzzle of this size."""
    return client.solve(Puzzle(client.kind.algorithm, secrets.token_hex(8), bits, STAMPS, client.kind.cost))


def measure_floor(client: ReferenceClient, seconds: float, solver: SolverFit) -> FloorPuzzle:
    """Find the largest floor whose puzzle takes at most `seconds` in the mean on this machine.

    Where even the least puzzle of this kind takes longer, it is the floor. The search begins where the client's fit to
    puzzles of STAMPS stamps suggests; small puzzles deviate from it, and sizes come in steps.
    """
    announce("searching for the least puzzle, some seconds")
    aim, slowness = FLOOR_AIM * seconds, 1.0
    tried: dict[float, FloorPuzzle] = {}
    for _ in range(FLOOR_TRIALS):
        puzzle = _largest(client.kind, solver, aim / slowness)
        work = float(puzzle.expected_hashes)
        if work in tried:
            break
        tried[work] = floor = FloorPuzzle(work, mean_solving_seconds(client, work))
        if FLOOR_LEAST * aim <= floor.seconds <= seconds:
            return floor
        slowness = floor.seconds / _expected_seconds(puzzle, solver)
    within = [floor for floor in tried.values() if floor.seconds <= seconds]
    if within:
        return max(within, key=lambda floor: floor.work)
    least = float(client.kind.puzzle(0.0, "floor").expected_hashes)
    return tried.get(least) or FloorPuzzle(least, mean_solving_seconds(client, least))


def _largest(kind: PuzzleKind, solver: SolverFit, seconds: float) -> Puzzle:
    """Return the largest puzzle that is expected to take at most `seconds`, or the least puzzle."""
    largest = kind.puzzle(0.0, "floor")
    for puzzle in _puzzles(kind):
        expected = _expected_seconds(puzzle, solver)
        if expected <= seconds:
            largest = puzzle
        elif expected > 2 * seconds:  # twice the work always takes longer, even if it has half as many stamps
            break
    return largest


def _puzzles(kind: PuzzleKind) -> Iterator[Puzzle]:
    """Yield a puzzle of every size, ascending."""
    puzzle = kind.puzzle(0.0, "floor")
    yield puzzle
    while True:
        # More than half a stamp above this size, and less than half a stamp of the next.
        larger = kind.puzzle(puzzle.expected_hashes + 0.6 * 2**puzzle.bits, "floor")
        if larger == puzzle:
            return
        yield larger
        puzzle = larger


def _expected_seconds(puzzle: Puzzle, solver: SolverFit) -> float:
    """Return the seconds of a puzzle by the fit to puzzles of STAMPS stamps: each stamp has its start."""
    return puzzle.count * solver.start_seconds / STAMPS + puzzle.expected_hashes / solver.hashes_per_second
