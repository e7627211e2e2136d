"""What hardware that thieves can buy makes of the puzzles' digests, as somebody has measured and published it."""

from __future__ import annotations

from dataclasses import dataclass

from calpow.puzzle.algorithms import SCRYPT, ScryptCost
from calpow.puzzle.puzzle import Puzzle

NAME = "RTX 4090"
SOURCE = "hashcat 6.2.6, https://gist.github.com/Chick3nman/32e662a5bb63bc4f51b847bb422222fd"


@dataclass(frozen=True, slots=True)
class Figure:
    """Digests a second of one graphics card, and the digest they are of."""

    algorithm: str
    cost: ScryptCost | None
    digests_per_second: float


# Modes 100, 1400 and 8900: one short message a digest, which takes one block of the hash, as each try of a stamp does.
FIGURES = (
    Figure("hashcash-sha1", None, 50_638.7e6),
    Figure("hashcash-sha256", None, 21_975.5e6),
    Figure(SCRYPT, ScryptCost(n=16384, r=8, p=1), 7_126.0),
)


def figure_of(puzzle: Puzzle) -> Figure | None:
    """What is published of this puzzle's digest; None for scrypt of another cost, which says nothing of this one's."""
    found = (each for each in FIGURES if (each.algorithm, each.cost) == (puzzle.algorithm, puzzle.cost))
    return next(found, None)
