"""Which miner solves a puzzle on how many cores: the fastest that is there, if it pays to get it ready."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from calpow.puzzle.algorithms import SCRYPT
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.miners import MakeMiner, Miner, PlainMiner, ScryptMiner


@dataclass(frozen=True, slots=True)
class Engine:
    """A kind of miner.

    by_process: whether more cores take more processes; otherwise threads do, since it works without Python's lock.
    worth_sharing: the expected digests of a puzzle from which on other cores are worth waking up.
    """

    name: str
    make: MakeMiner
    by_process: bool
    worth_sharing: float

    def workers(self, puzzle: Puzzle) -> int:
        """How many cores to use for a puzzle."""
        return usable_cores() if puzzle.expected_hashes >= self.worth_sharing else 1


def _vector_miner(puzzle: Puzzle, date: str) -> Miner:
    from calpow.puzzle.solving.simd_miner import VectorMiner

    return VectorMiner(puzzle, date)


# A process takes 0.1 s to start, a thread 0.1 ms: other cores help where they save some times that.
PYTHON = Engine("python", PlainMiner, by_process=True, worth_sharing=2e6)
FAST = Engine("fast", _vector_miner, by_process=False, worth_sharing=5e5)
MEMORY_HARD = Engine("scrypt", ScryptMiner, by_process=False, worth_sharing=16)

# Loading the compiler and compiling take about as long as this many digests of the plain miner: once a process has
# taken as many, or is about to, the machine code pays, and whoever solves little never waits for it.
_WORTH_COMPILING = 1_000_000


class _Tally:
    """Digests that this process was asked for while it had no machine code."""

    digests = 0


def engines_of(algorithm: str) -> tuple[Engine, ...]:
    """The engines that can solve puzzles of an algorithm here, the slowest first."""
    if algorithm == SCRYPT:
        return (MEMORY_HARD,)
    return (PYTHON, FAST) if has_fast() else (PYTHON,)


def choose(puzzle: Puzzle) -> Engine:
    """The engine for a puzzle, now."""
    if puzzle.algorithm == SCRYPT:
        return MEMORY_HARD
    _Tally.digests += puzzle.expected_hashes
    return FAST if _Tally.digests >= _WORTH_COMPILING and has_fast() else PYTHON


@cache
def has_fast() -> bool:
    """Whether the extra `calpow[fast]` is installed and works here: some systems let no program make machine code."""
    if find_spec("llvmlite") is None:
        return False
    try:
        from calpow.puzzle.solving.simd_kernels import kernel

        kernel("hashcash-sha1")
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def usable_cores() -> int:
    """How many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
