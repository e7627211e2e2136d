"""Measurement of this machine: the speed of each solver for each kind of puzzle, and the time of verification."""

from __future__ import annotations

import math
import re
import secrets
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from calpow.client.cli.gpu_speeds import GPU_SPEEDS
from calpow.client.cli.progress_bars import turns_bar
from calpow.client.errors import MeasurementFailed
from calpow.puzzle.profiles import PROFILES, PuzzleKind
from calpow.puzzle.puzzle import MAX_BITS, Puzzle
from calpow.puzzle.solving.engines import FAST, MEMORY_HARD, PYTHON, Engine, engines_for, usable_cores
from calpow.puzzle.solving.solver import SolverRun, run_solver, solve

ROUNDS = 3
RUN_SECONDS = 0.3
# Long enough for the time that starting processes takes not to matter.
PROCESSES_RUN_SECONDS = 1.5
PROBE_SECONDS = 0.02
STAMPS = 8
VERIFICATIONS = 5
# The program hashcash needs half a second for 2^22 digests where it is fast.
HASHCASH_BITS = 22
_TRIES = re.compile(r"^tries: (\d+)", re.MULTILINE)
_SOLVER_NAMES = {PYTHON.name: "pure Python", FAST.name: "calpow[fast]", MEMORY_HARD.name: "hashlib"}


@dataclass(frozen=True, slots=True)
class SolverSpeed:
    """Digests a second of one solver, the median over the rounds; `puzzle` is an example of the kind."""

    name: str
    puzzle: Puzzle
    solver: str
    digests_per_second: float


@dataclass(frozen=True, slots=True)
class VerificationTime:
    """Seconds to verify the largest number of stamps of a profile, the median over the rounds."""

    name: str
    stamps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Benchmark:
    """One solver of one kind of puzzle; `run` measures its digests a second once."""

    name: str
    kind: PuzzleKind
    solver: str
    run: Callable[[], float]


def measure() -> tuple[list[SolverSpeed], list[VerificationTime]]:
    """Measure all solvers and all verifications, in turns, so that other load on the machine affects all alike.

    Raises MeasurementFailed.
    """
    benchmarks = list(_benchmarks())
    verifications = {name: _verification(profile.kind) for name, profile in PROFILES.items()}
    rates: list[list[float]] = [[] for _ in benchmarks]
    seconds: dict[str, list[float]] = {name: [] for name in verifications}
    with turns_bar(ROUNDS * len(benchmarks)) as advance:
        for _ in range(ROUNDS):
            for benchmark, measured in zip(benchmarks, rates, strict=True):
                measured.append(benchmark.run())
                advance()
            for name, verify in verifications.items():
                seconds[name] += [verify() for _ in range(VERIFICATIONS)]
    speeds = [
        SolverSpeed(benchmark.name, _puzzle(benchmark.kind, 1), benchmark.solver, statistics.median(measured))
        for benchmark, measured in zip(benchmarks, rates, strict=True)
    ]
    stamps = {name: PROFILES[name].kind.most_stamps for name in verifications}
    return speeds, [VerificationTime(name, stamps[name], statistics.median(seconds[name])) for name in verifications]


def _benchmarks() -> Iterator[_Benchmark]:
    for name, kind in _kinds().items():
        for engine in engines_for(kind.algorithm):
            for workers in sorted({1, usable_cores()}):
                cores = "1 core" if workers == 1 else f"{workers} cores"
                solver = f"{_SOLVER_NAMES[engine.name]}, {cores}"
                yield _Benchmark(name, kind, solver, _solver_benchmark(kind, engine, workers))
        program = shutil.which("hashcash")
        if program and kind.algorithm == "hashcash-sha1":
            yield _Benchmark(name, kind, "the program hashcash, 1 core", partial(hashcash_rate, program))


def _kinds() -> dict[str, PuzzleKind]:
    """Return the kinds of the profiles, and the others for which speeds are published, by name."""
    kinds = {name: profile.kind for name, profile in PROFILES.items()}
    known = {(kind.algorithm, kind.cost) for kind in kinds.values()}
    for speed in GPU_SPEEDS:
        if (speed.algorithm, speed.cost) not in known and speed.cost is not None:
            kinds[f"{speed.algorithm}, n={speed.cost.n}"] = PuzzleKind(speed.algorithm, speed.cost)
    return kinds


def _solver_benchmark(kind: PuzzleKind, engine: Engine, workers: int) -> Callable[[], float]:
    """Return a function that measures a solver once, with a puzzle that takes about the seconds of a run."""
    seconds = PROCESSES_RUN_SECONDS if engine.uses_processes and workers > 1 else RUN_SECONDS
    expected_rate = _rough_rate(kind, engine) * workers
    bits = min(MAX_BITS, max(1, round(math.log2(expected_rate * seconds / STAMPS))))

    def rate() -> float:
        run = run_solver(_puzzle(kind, bits), engine, workers=workers)
        return run.digests / run.seconds

    return rate


def _rough_rate(kind: PuzzleKind, engine: Engine) -> float:
    """Return roughly the digests a second of one core, once the engine has started."""
    run: SolverRun = run_solver(_puzzle(kind, 1), engine, workers=1)
    for bits in range(1, MAX_BITS):
        run = run_solver(_puzzle(kind, bits), engine, workers=1)
        if run.seconds > PROBE_SECONDS:
            break
    return run.digests / run.seconds


def _puzzle(kind: PuzzleKind, bits: int) -> Puzzle:
    return Puzzle(kind.algorithm, secrets.token_hex(8), bits, STAMPS, kind.cost)


def hashcash_rate(program: str) -> float:
    """Return the digests a second of the program, by the tries that it reports."""
    digests, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < RUN_SECONDS:
        command = [program, "-mCv", "-b", str(HASHCASH_BITS), "-r", secrets.token_hex(8)]
        tries = _TRIES.search(subprocess.run(command, capture_output=True, text=True, check=False).stderr)
        if tries is None:
            raise MeasurementFailed(f"{program} does not say how many tries it made: take it off the path")
        digests += int(tries[1])
    return digests / elapsed


def _verification(kind: PuzzleKind) -> Callable[[], float]:
    """Return a function that measures once how many seconds verifying the largest number of stamps takes."""
    puzzle = Puzzle(kind.algorithm, secrets.token_hex(8), 1, kind.most_stamps, kind.cost)
    stamps = solve(puzzle)

    def seconds() -> float:
        start = time.perf_counter()
        puzzle.verify(stamps)
        return time.perf_counter() - start

    return seconds
