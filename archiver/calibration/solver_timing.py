"""How long the reference client takes for puzzles of one kind on this machine, with one core."""

import itertools
import math
import secrets
import time
from dataclasses import dataclass

from tqdm import tqdm

from calpow.archiver.calibration.fitting import fit_line
from calpow.handler.policy.policies import SolverFit
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.profiles import Kind
from calpow.puzzle.puzzle import MAX_BITS, Puzzle
from calpow.puzzle.solving.engines import Engine, engines_of
from calpow.puzzle.solving.solver import Minted, mint

# Sizes are timed that take about as long as this, in powers of two, 16 stamps to a puzzle, and not fewer than three.
SHORTEST_SECONDS = 0.001
LONGEST_SECONDS = 0.5
FEWEST_SIZES = 3
STAMPS = 16
# In each round small puzzles are solved as often as takes no longer than the largest one, up to so many times.
ROUNDS = 3
MOST_TIMES = 16
PROBE_SECONDS = 0.05
# The floor's puzzle is solved until its mean is known to 2 %, but no longer than this.
FLOOR_STAMPS = 4_000
FLOOR_SECONDS = 2.0
# A floor counts once its own puzzle was seen to take so much of what is allowed, and no more: the machine may have been
# busier, or idler, while one was looked for.
FLOOR_TRIALS = 8
FLOOR_LEAST = 0.8


class TimingError(CalpowError):
    """The reference client that was asked for is not installed, or its puzzles take too long for what is protected."""


@dataclass(frozen=True)
class ReferenceClient:
    """Who solves puzzles of this kind in the time that work is calibrated in."""

    kind: Kind
    engine: Engine

    def solve(self, puzzle: Puzzle) -> Minted:
        """Solve on one core."""
        return mint(puzzle, self.engine, workers=1)


@dataclass(frozen=True)
class Floor:
    """The least puzzle that is asked for: its expected hashes, and the mean seconds that it took."""

    work: float
    seconds: float

    def on(self, solver: SolverFit) -> SolverFit:
        """The fit moved so that it says of the floor's puzzle what was measured."""
        start = self.seconds - self.work / solver.hashes_per_second
        if start < 0:  # the machine was slower while the fit was made
            return SolverFit(0.0, self.work / self.seconds)
        return SolverFit(start, solver.hashes_per_second)


def reference_client(kind: Kind, *, fast: bool) -> ReferenceClient:
    """The solver that every Python has, or the fastest that there is. Raises TimingError when that is not installed."""
    engines = engines_of(kind.algorithm)
    if fast and kind.cost is None and len(engines) < 2:
        raise TimingError(
            "calpow[fast] is not installed or does not work here: pip install 'calpow[fast]', or give"
            " --reference-client python, and a discount to thieves who have it"
        )
    return ReferenceClient(kind, engines[-1] if fast else engines[0])


def mean_solving_seconds(client: ReferenceClient, work: float) -> float:
    """Mean time of the reference client for the puzzle of this work."""
    begun = time.perf_counter()
    for solved in itertools.count(1):
        puzzle = client.kind.puzzle(work, secrets.token_hex(8))
        client.solve(puzzle)
        spent = time.perf_counter() - begun
        if solved * puzzle.count >= FLOOR_STAMPS or spent >= FLOOR_SECONDS:
            return spent / solved
    raise AssertionError


def measure_solver(client: ReferenceClient) -> SolverFit:
    """Fit seconds on digests, as the reference client solves on this machine.

    How lucky a puzzle was is known and does not count. All sizes take turns: other load on the machine tilts nothing.
    """
    asked = tqdm(_in_turns(_sizes(client)) * ROUNDS, desc="solver", unit="puzzle", disable=None)
    timed = [(bits, _solve(client, bits)) for bits in asked]
    weights = [1.0 / (STAMPS << bits) ** 2 for bits, _ in timed]
    pace = fit_line([each.digests for _, each in timed], [each.seconds for _, each in timed], weights)
    return SolverFit(max(pace.intercept, 0.0), 1.0 / pace.slope)


def _sizes(client: ReferenceClient) -> range:
    """Bits of the sizes to time, by how fast this client is here, once it is ready."""
    _solve(client, 1)
    for bits in range(1, MAX_BITS):
        spent = _solve(client, bits).seconds
        if spent >= PROBE_SECONDS:
            break
    lowest = max(1, bits + math.ceil(math.log2(SHORTEST_SECONDS / spent)))
    highest = bits + math.floor(math.log2(LONGEST_SECONDS / spent))
    return range(lowest, max(highest + 1, lowest + FEWEST_SIZES))


def _in_turns(sizes: range) -> list[int]:
    """One round of bits: small sizes more often than large ones, each spread evenly over the round."""
    times = {bits: min(MOST_TIMES, 1 << (sizes[-1] - bits)) for bits in sizes}
    turns = [((each + 0.5) / count, bits) for bits, count in times.items() for each in range(count)]
    return [bits for _, bits in sorted(turns)]


def _solve(client: ReferenceClient, bits: int) -> Minted:
    """One puzzle of this size."""
    return client.solve(Puzzle(client.kind.algorithm, secrets.token_hex(8), bits, STAMPS, client.kind.cost))


def measure_floor(client: ReferenceClient, seconds: float, solver: SolverFit) -> Floor:
    """Find the floor whose puzzle, as solved here, takes at most `seconds` in the mean.

    The fit says where to begin: small puzzles depart from it most, and sizes come in steps. Raises TimingError when
    also the least puzzle of this kind takes longer.
    """
    least = _asked(client, 0.0)
    # A little less than is allowed: a size is half a step away at most, and the mean is not known exactly.
    aim = seconds * (0.99 - 0.5 / client.kind.least_stamps)
    tried: list[Floor] = []
    work = solver.work(aim)
    for _ in range(FLOOR_TRIALS):
        work = max(work, least)
        tried.append(Floor(_asked(client, work), mean_solving_seconds(client, work)))
        if FLOOR_LEAST * aim <= tried[-1].seconds <= seconds:
            return tried[-1]
        if tried[-1].work == least and tried[-1].seconds > seconds:
            break
        work *= aim / tried[-1].seconds
    within = [each for each in tried if each.seconds <= seconds]
    if not within:
        takes = min(each.seconds for each in tried)
        raise TimingError(
            f"the least puzzle of {client.kind.algorithm} takes {1e3 * takes:.2g} ms here, and a legitimate user may"
            f" solve for {1e3 * seconds:.2g} ms: choose another --puzzle, or a larger --overhead-budget"
        )
    return max(within, key=lambda each: each.seconds)


def _asked(client: ReferenceClient, work: float) -> float:
    """Expected hashes of the puzzle that is asked for so much work."""
    return float(client.kind.puzzle(work, "floor").expected_hashes)
