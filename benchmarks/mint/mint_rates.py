"""Rates of minting stamps: all solvers, client/js in Node and Chromium, a bare loop of hashlib, and `hashcash`."""

import hashlib
import itertools
import random
import re
import secrets
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from tqdm import tqdm

from benchmarks.mint import mint_scripts
from benchmarks.mint.mint_scripts import Run, script_runtimes
from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import FAST, MEMORY_HARD, PYTHON, Engine, has_fast_engine, usable_cores
from calpow.puzzle.solving.solver import run_solver

# Other load comes and goes by the half second: one core is timed often and briefly, for the medians to agree.
ROUNDS = 41
ALL_CORES_ROUNDS = 9
# A puzzle of honest users' size, so that what a stamp's beginning takes is counted in; others take so many seconds.
SMALL_BITS, SMALL_COUNT, SMALL_PUZZLES = 10, 18, 12
SECONDS = 0.1
BARE_HASHES = 200_000
COST = ScryptCost(n=32, r=8, p=1)  # of the profile scrypt
# `hashcash -s` looks at its clock after a millisecond or so: a single figure of its says little.
HASHCASH_RUNS = 15
_SPEED = re.compile(rb"(?:speed: )?(\d+)")

SHA1, SHA256, SCRYPT = "hashcash-sha1", "hashcash-sha256", "scrypt"
ALGORITHMS = {SHA1: None, SHA256: None, SCRYPT: COST}
BARE, HASHCASH = "bare hashlib loop", "hashcash -s"
WIDTH = 44
_Name = TypeVar("_Name")


@dataclass(frozen=True)
class MintRates:
    """Digests a second on one core, medians, by algorithm and solver; and what all cores make of one solver's rate."""

    one_core: Mapping[str, Mapping[str, float]]
    all_cores: Mapping[str, float]
    cores: int


def measure() -> MintRates:
    """One core first: what runs after all cores were busy is slower for a while."""
    table: dict[str, dict[str, float]] = {}
    with script_runtimes() as runtimes:
        for (algorithm, solver), rate in _medians("one core", ROUNDS, dict(_sources(runtimes))).items():
            table.setdefault(algorithm, {})[solver] = rate
        shared = _medians("all cores", ALL_CORES_ROUNDS, dict(_shared_sources(runtimes)))
    return MintRates(table, shared, usable_cores())


def _medians(title: str, rounds: int, sources: Mapping[_Name, Callable[[], float]]) -> dict[_Name, float]:
    """All in turns, each time in another order: other load on the machine falls on all alike, and so does their own."""
    taken = [
        {name: sources[name]() for name in random.sample(list(sources), len(sources))}
        for _ in tqdm(range(rounds), desc=title, unit="round", disable=None)
    ]
    return {name: statistics.median(each[name] for each in taken) for name in sources}


def _sources(runtimes: Mapping[str, Run]) -> Iterator[tuple[tuple[str, str], Callable[[], float]]]:
    yield (SHA1, "python, puzzles of 18,432"), small_puzzles_rate
    for engine, algorithm in _engines():
        yield (algorithm, engine.name), partial(solver_rate, engine, algorithm)
    for (runtime, run), algorithm in itertools.product(runtimes.items(), ALGORITHMS):
        source = partial(mint_scripts.one_core, run, algorithm, ALGORITHMS[algorithm], SECONDS)
        source()  # the first call compiles
        yield (algorithm, f"client/js, {runtime}"), source
    for algorithm in (SHA1, SHA256):
        yield (algorithm, BARE), partial(bare_rate, BARE_HASHES, algorithm)
    yield (SCRYPT, BARE), partial(bare_scrypt_rate, SECONDS)
    program = shutil.which("hashcash")
    if program:
        yield (SHA1, HASHCASH), partial(hashcash_rate, program)


def _shared_sources(runtimes: Mapping[str, Run]) -> Iterator[tuple[str, Callable[[], float]]]:
    for engine, algorithm in _engines():
        yield _name(engine, algorithm), partial(all_cores, engine, algorithm)
    for (runtime, run), algorithm in itertools.product(runtimes.items(), ALGORITHMS):
        source = partial(mint_scripts.all_cores, run, algorithm, ALGORITHMS[algorithm], usable_cores())
        yield f"{algorithm}, client/js, {runtime}", source


def _engines() -> Iterator[tuple[Engine, str]]:
    for algorithm in (SHA1, SHA256):
        yield PYTHON, algorithm
        if has_fast_engine():
            yield FAST, algorithm
    yield MEMORY_HARD, SCRYPT


def _name(engine: Engine, algorithm: str) -> str:
    return f"{algorithm}, {engine.name}"


def small_puzzles_rate() -> float:
    """Hashes a second of the pure-Python solver, everything it does for a puzzle included."""
    asked = [Puzzle(SHA1, secrets.token_hex(8), SMALL_BITS, SMALL_COUNT) for _ in range(SMALL_PUZZLES)]
    begun = time.perf_counter()
    digests = sum(run_solver(puzzle, PYTHON, workers=1).digests for puzzle in asked)
    return digests / (time.perf_counter() - begun)


def solver_rate(engine: Engine, algorithm: str, workers: int = 1, seconds: float = SECONDS) -> float:
    """Digests a second of a solver, on puzzles of stamps that take a hundredth of `seconds` and more."""
    bits = {MEMORY_HARD: 4, PYTHON: 13, FAST: 17}[engine]
    cost = COST if engine is MEMORY_HARD else None
    digests, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        digests += run_solver(Puzzle(algorithm, secrets.token_hex(8), bits, 16, cost), engine, workers=workers).digests
    return digests / spent


def all_cores(engine: Engine, algorithm: str) -> float:
    """The rate of one large puzzle's solver on all cores, as a multiple of one's, one after the other."""
    bits = {MEMORY_HARD: 10, PYTHON: 18, FAST: 23}[engine]
    cost = COST if engine is MEMORY_HARD else None
    puzzle = Puzzle(algorithm, secrets.token_hex(8), bits, 16, cost)
    alone, together = run_solver(puzzle, engine, workers=1), run_solver(puzzle, engine, workers=usable_cores())
    return (together.digests / together.seconds) / (alone.digests / alone.seconds)


def bare_rate(hashes: int, algorithm: str = SHA1) -> float:
    """Hashes a second of a loop that does nothing but copy, update and digest."""
    copy = hashlib.new(algorithm.removeprefix("hashcash-"), bytes(64)).copy
    begun = time.perf_counter()
    for _ in range(hashes):
        state = copy()
        state.update(b"00")
        state.digest()
    return hashes / (time.perf_counter() - begun)


def bare_scrypt_rate(seconds: float) -> float:
    """Digests a second of hashlib.scrypt alone."""
    made, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        hashlib.scrypt(b"%x" % made, salt=b"", n=COST.n, r=COST.r, p=COST.p, dklen=32)
        made += 1
    return made / spent


def hashcash_rate(program: str) -> float:
    """Hashes a second that `hashcash -s` says it makes, the median of several runs."""
    runs = [subprocess.run([program, "-sq"], capture_output=True, check=True) for _ in range(HASHCASH_RUNS)]
    found = [_SPEED.match(run.stdout.strip()) for run in runs]
    return statistics.median(float(each[1]) for each in found if each)


def table(rates: MintRates) -> Iterator[str]:
    """The figures as lines of text."""
    for algorithm, solvers in rates.one_core.items():
        yield f"\n{f'{algorithm}, digests a second on one core':<{WIDTH}}{'':>14}{'of hashlib':>12}"
        for name, rate in solvers.items():
            yield f"{name:<{WIDTH}}{rate:>14,.0f}{rate / solvers[BARE]:>12.2f}"
    yield f"\n{rates.cores} cores, as a multiple of one"
    for name, ratio in rates.all_cores.items():
        yield f"{name:<{WIDTH}}{'':>14}{ratio:>12.2f}"
