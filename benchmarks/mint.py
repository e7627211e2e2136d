"""How fast stamps are minted: our client, the least that hashlib could take, and the program `hashcash`."""

import hashlib
import re
import secrets
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solver import solve
from calpow.puzzle.stamp import Stamp

ROUNDS = 9
# A puzzle of honest users' size, so that what a stamp's beginning takes is counted in, and a large one.
SMALL = (10, 18)
LARGE = (15, 16)
BARE_HASHES = 300_000
# `hashcash -s` looks at its clock after a millisecond or so: a single figure of its says little.
HASHCASH_RUNS = 15
_SPEED = re.compile(rb"(?:speed: )?(\d+)")


@dataclass(frozen=True)
class MintRates:
    """Hashes a second, medians; `hashcash` is None where that program is not installed."""

    small_puzzles: float
    large_puzzles: float
    bare_loop: float
    hashcash: float | None


def measure() -> MintRates:
    """All in turns, so that other load on the machine falls on all alike."""
    sources: dict[str, Callable[[], float]] = {
        "small": lambda: solver_rate(*SMALL, puzzles=25),
        "large": lambda: solver_rate(*LARGE, puzzles=1),
        "bare": lambda: bare_rate(BARE_HASHES),
    }
    program = shutil.which("hashcash")
    if program:
        sources["hashcash"] = lambda: hashcash_rate(program)
    rounds = [{name: source() for name, source in sources.items()} for _ in range(ROUNDS)]
    medians = {name: statistics.median(each[name] for each in rounds) for name in sources}
    return MintRates(medians["small"], medians["large"], medians["bare"], medians.get("hashcash"))


def solver_rate(bits: int, count: int, puzzles: int) -> float:
    """Hashes a second of the reference client, everything it does for a puzzle included."""
    asked = [Puzzle("hashcash-sha1", secrets.token_hex(8), bits, count) for _ in range(puzzles)]
    begun = time.perf_counter()
    solved = [solve(puzzle) for puzzle in asked]
    seconds = time.perf_counter() - begun
    # The reference client counts from 0, in hexadecimal.
    hashes = sum(int(Stamp.parse(stamp).counter, 16) + 1 for stamps in solved for stamp in stamps)
    return hashes / seconds


def bare_rate(hashes: int) -> float:
    """Hashes a second of a loop that does nothing but copy, update and digest."""
    copy = hashlib.sha1(bytes(64)).copy
    begun = time.perf_counter()
    for _ in range(hashes):
        state = copy()
        state.update(b"00")
        state.digest()
    return hashes / (time.perf_counter() - begun)


def hashcash_rate(program: str) -> float:
    """Hashes a second that `hashcash -s` says it makes, the median of several runs."""
    runs = [subprocess.run([program, "-sq"], capture_output=True, check=True) for _ in range(HASHCASH_RUNS)]
    found = [_SPEED.match(run.stdout.strip()) for run in runs]
    return statistics.median(float(each[1]) for each in found if each)
