"""From wanted work to a puzzle's size."""

from __future__ import annotations

import math

from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.puzzle import MAX_BITS

# Counts of 16 to 31 make steps of at most 1/16 between sizes, and a spread of solving times of at most 25 %.
MOST_STAMPS = 31


def puzzle_size(work: float) -> tuple[int, int]:
    """Return (bits, count) of the puzzle whose expected hashes, count x 2^bits, are nearest to `work`.

    `count` is 16 to 31 from 32 hashes on; below, stamps of one bit are counted, at least one. Work beyond the
    largest puzzle gets the largest, which is out of anyone's reach. Raises PuzzleError if `work` is negative
    or not a number.
    """
    if not work >= 0:
        raise PuzzleError(f"a puzzle cannot ask for {work} hashes: the work must be 0 or more")
    work = min(work, float(MOST_STAMPS << MAX_BITS))
    bits = max(1, math.frexp(work)[1] - 5)  # so that work / 2^bits lies in [16, 32)
    count = max(1, round(work / 2**bits))
    return (bits, count) if count <= MOST_STAMPS else (bits + 1, 16)
