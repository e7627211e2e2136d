"""How fast this machine is at each kind of puzzle: with every solver there is, and at verifying."""

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

from tqdm import tqdm

from calpow.client.cli.hardware import FIGURES
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.profiles import PROFILES, Kind
from calpow.puzzle.puzzle import MAX_BITS, Puzzle
from calpow.puzzle.solving.engines import FAST, MEMORY_HARD, PYTHON, Engine, engines_of, usable_cores
from calpow.puzzle.solving.solver import Minted, mint, solve

ROUNDS = 3
TURN_SECONDS = 0.3
# What starting processes takes must not show.
PROCESSES_TURN_SECONDS = 1.5
PROBE_SECONDS = 0.02
STAMPS = 8
VERIFICATIONS = 5
# Where the program hashcash is fast: 2^22 digests take it half a second.
HASHCASH_BITS = 22
_TRIES = re.compile(r"^tries: (\d+)", re.MULTILINE)
_SOLVERS = {PYTHON.name: "pure Python", FAST.name: "calpow[fast]", MEMORY_HARD.name: "hashlib"}


class MeasuringFailed(CalpowError):
    """A program that was to be timed does not do what it should."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Digests a second of one solver, the median over the rounds; `puzzle` is any of the kind's."""

    name: str
    puzzle: Puzzle
    solver: str
    digests_per_second: float


@dataclass(frozen=True, slots=True)
class Verifying:
    """Seconds to verify the largest count of a profile's stamps, the median over the rounds."""

    name: str
    stamps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Way:
    """One solver of one kind, and how to measure its digests a second once."""

    name: str
    kind: Kind
    solver: str
    measure: Callable[[], float]


def measure() -> tuple[list[Pace], list[Verifying]]:
    """Measure all in turns, so that other load on the machine falls on all alike. Raises MeasuringFailed."""
    ways = list(_ways())
    checks = {name: _verifier(profile.kind) for name, profile in PROFILES.items()}
    rates: list[list[float]] = [[] for _ in ways]
    seconds: dict[str, list[float]] = {name: [] for name in checks}
    with tqdm(total=ROUNDS * len(ways), desc="measuring", unit="turn", leave=False, disable=None) as bar:
        for _ in range(ROUNDS):
            for way, found in zip(ways, rates, strict=True):
                found.append(way.measure())
                bar.update()
            for name, verify in checks.items():
                seconds[name] += [verify() for _ in range(VERIFICATIONS)]
    paces = [
        Pace(way.name, _sized(way.kind, 1), way.solver, statistics.median(found))
        for way, found in zip(ways, rates, strict=True)
    ]
    most = {name: PROFILES[name].kind.most_stamps for name in checks}
    return paces, [Verifying(name, most[name], statistics.median(seconds[name])) for name in checks]


def _ways() -> Iterator[_Way]:
    for name, kind in _kinds().items():
        for engine in engines_of(kind.algorithm):
            for workers in sorted({1, usable_cores()}):
                cores = "1 core" if workers == 1 else f"{workers} cores"
                yield _Way(name, kind, f"{_SOLVERS[engine.name]}, {cores}", _solver_rate(kind, engine, workers))
        program = shutil.which("hashcash")
        if program and kind.algorithm == "hashcash-sha1":
            yield _Way(name, kind, "the program hashcash, 1 core", partial(_hashcash_rate, program))


def _kinds() -> dict[str, Kind]:
    """The profiles, and what else figures are published of."""
    kinds = {name: profile.kind for name, profile in PROFILES.items()}
    known = {(kind.algorithm, kind.cost) for kind in kinds.values()}
    for figure in FIGURES:
        if (figure.algorithm, figure.cost) not in known and figure.cost is not None:
            kinds[f"{figure.algorithm}, n={figure.cost.n}"] = Kind(figure.algorithm, figure.cost)
    return kinds


def _solver_rate(kind: Kind, engine: Engine, workers: int) -> Callable[[], float]:
    """How to measure a solver, with puzzles that take it about a turn."""
    seconds = PROCESSES_TURN_SECONDS if engine.by_process and workers > 1 else TURN_SECONDS
    pace = _probed(kind, engine) * workers
    bits = min(MAX_BITS, max(1, round(math.log2(pace * seconds / STAMPS))))

    def rate() -> float:
        minted = mint(_sized(kind, bits), engine, workers=workers)
        return minted.digests / minted.seconds

    return rate


def _probed(kind: Kind, engine: Engine) -> float:
    """Digests a second of one core, roughly, once the engine is ready."""
    minted: Minted = mint(_sized(kind, 1), engine, workers=1)
    for bits in range(1, MAX_BITS):
        minted = mint(_sized(kind, bits), engine, workers=1)
        if minted.seconds > PROBE_SECONDS:
            break
    return minted.digests / minted.seconds


def _sized(kind: Kind, bits: int) -> Puzzle:
    return Puzzle(kind.algorithm, secrets.token_hex(8), bits, STAMPS, kind.cost)


def _hashcash_rate(program: str) -> float:
    """Digests a second of the program, by the tries it tells of."""
    digests, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < TURN_SECONDS:
        words = [program, "-mCv", "-b", str(HASHCASH_BITS), "-r", secrets.token_hex(8)]
        told = _TRIES.search(subprocess.run(words, capture_output=True, text=True, check=False).stderr)
        if told is None:
            raise MeasuringFailed(f"{program} does not say how many tries it made: take it off the path")
        digests += int(told[1])
    return digests / spent


def _verifier(kind: Kind) -> Callable[[], float]:
    """How to measure the seconds that verifying the largest count of stamps takes."""
    puzzle = Puzzle(kind.algorithm, secrets.token_hex(8), 1, kind.most_stamps, kind.cost)
    stamps = solve(puzzle)

    def seconds() -> float:
        begun = time.perf_counter()
        puzzle.verify(stamps)
        return time.perf_counter() - begun

    return seconds
