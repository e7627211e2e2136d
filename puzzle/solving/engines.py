"""Solver engines: which miner solves a puzzle, and on how many cores."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from calpow.puzzle.algorithms import SCRYPT
from calpow.puzzle.errors import SlowSolverWarning
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.miners import Miner, MinerFactory, PlainMiner, ScryptMiner


@dataclass(frozen=True, slots=True)
class Engine:
    """A kind of miner, and how it scales over cores.

    uses_processes: whether other cores are used by processes; if not, by threads, since the miner releases the GIL.
    min_shared_work: the expected digests of a puzzle from which on it is solved on more than one core.
    """

    name: str
    create_miner: MinerFactory
    uses_processes: bool
    min_shared_work: float

    def workers(self, puzzle: Puzzle) -> int:
        """Return the number of cores to use for a puzzle."""
        return usable_cores() if puzzle.expected_hashes >= self.min_shared_work else 1


class EngineSelector:
    """Selects the engine for each puzzle of this process, by the algorithm and by the work requested so far.

    Loading llvmlite and compiling take about as long as a million digests of the plain miner. So machine code is used
    only once the puzzles of a process ask for as many: a process that solves little never waits for the compiler. See
    docs/decisions/0025.
    """

    _WORTH_COMPILING = 1_000_000

    def __init__(self) -> None:
        self._requested_digests = 0

    def select(self, puzzle: Puzzle) -> Engine:
        """Return the engine for a puzzle that is about to be solved, and count its work."""
        if puzzle.algorithm == SCRYPT:
            return MEMORY_HARD
        self._requested_digests += puzzle.expected_hashes
        return FAST if self._requested_digests >= self._WORTH_COMPILING and has_fast_engine() else PYTHON


# Held while machine code is compiled, so that threads that start together compile once, and by every fork: a child of
# a fork in the middle would wait forever for locks of llvmlite and of the import system.
_compiling = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_compiling.acquire, after_in_parent=_compiling.release, after_in_child=_compiling.release
    )


def _create_vector_miner(puzzle: Puzzle, date: str) -> Miner:
    with _compiling:
        from calpow.puzzle.solving.simd_miner import VectorMiner

        return VectorMiner(puzzle, date)


# A process takes 0.1 s to start and a thread 0.1 ms: other cores are used where they save several times that.
PYTHON = Engine("python", PlainMiner, uses_processes=True, min_shared_work=2e6)
FAST = Engine("fast", _create_vector_miner, uses_processes=False, min_shared_work=5e5)
MEMORY_HARD = Engine("scrypt", ScryptMiner, uses_processes=False, min_shared_work=16)

select_engine = EngineSelector().select


def engines_for(algorithm: str) -> tuple[Engine, ...]:
    """Return the engines that can solve puzzles of an algorithm on this machine, the slowest first."""
    if algorithm == SCRYPT:
        return (MEMORY_HARD,)
    return (PYTHON, FAST) if has_fast_engine() else (PYTHON,)


@cache
def has_fast_engine() -> bool:
    """Return whether the extra `calpow[fast]` is installed and works: some systems allow no new machine code.

    Warns once, with a SlowSolverWarning, when it is installed and does not work.
    """
    if find_spec("llvmlite") is None:
        return False
    with _compiling:
        try:
            from calpow.puzzle.solving.simd_kernels import load_kernel

            load_kernel("hashcash-sha1")
        except Exception as error:  # a broken or foreign llvmlite fails in whatever way
            warnings.warn(
                f"llvmlite does not work here ({type(error).__name__}: {error}): puzzles are solved in pure Python, up"
                " to 30 times as slowly",
                SlowSolverWarning,
                stacklevel=2,
            )
            return False
    return True


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
