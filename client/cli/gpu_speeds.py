"""Published measurements of how fast a graphics card computes the digests of puzzles."""

from __future__ import annotations

from dataclasses import dataclass

from calpow.puzzle.algorithms import SCRYPT, ScryptCost
from calpow.puzzle.puzzle import Puzzle

CARD = "RTX 4090"
SOURCE = "hashcat 6.2.6, https://gist.github.com/Chick3nman/32e662a5bb63bc4f51b847bb422222fd"


@dataclass(frozen=True, slots=True)
class GpuSpeed:
    """Digests a second of the card, for one algorithm and its cost."""

    algorithm: str
    cost: ScryptCost | None
    digests_per_second: float


# Modes 100, 1400 and 8900: one short message a digest, which takes one block of the hash, as each try of a stamp does.
GPU_SPEEDS = (
    GpuSpeed("hashcash-sha1", None, 50_638.7e6),
    GpuSpeed("hashcash-sha256", None, 21_975.5e6),
    GpuSpeed(SCRYPT, ScryptCost(n=16384, r=8, p=1), 7_126.0),
)


def gpu_speed(puzzle: Puzzle) -> GpuSpeed | None:
    """Return the speed published for a puzzle's digest, or None.

    There is none for scrypt of another cost: a speed at one cost says nothing about another.
    """
    speeds = (speed for speed in GPU_SPEEDS if (speed.algorithm, speed.cost) == (puzzle.algorithm, puzzle.cost))
    return next(speeds, None)
