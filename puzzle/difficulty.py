"""From wanted work to a puzzle's size."""

from __future__ import annotations

import math

from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.puzzle import MAX_BITS, MAX_COUNT

# Counts of 16 to 31 make steps of at most 1/16 between sizes, and a spread of solving times of at most 25 %.
LEAST_STAMPS = 16


def puzzle_size(work: float, least: int = LEAST_STAMPS) -> tuple[int, int]:
    """Return (bits, count) of the puzzle whose expected digests, count x 2^bits, are nearest to `work`.

    `count` lies in [least, 2 least) from 2 x least digests on; below, stamps of one bit are counted, at least one.
    Work beyond the largest puzzle gets the largest, which is out of anyone's reach. Raises PuzzleError if `work` is
    negative or not a number, or `least` is not between 1 and 32.
    """
    if not work >= 0:
        raise PuzzleError(f"a puzzle cannot ask for {work} hashes: the work must be 0 or more")
    if not 1 <= least <= MAX_COUNT // 2:
        raise PuzzleError(f"puzzles of {least} stamps and more: between 1 and {MAX_COUNT // 2} can be asked")
    most = 2 * least - 1
    work = min(work, float(most << MAX_BITS))
    bits = max(1, math.frexp(work / least)[1] - 1)  # so that work / 2^bits lies in [least, 2 least)
    count = max(1, round(work / 2**bits))
    return (bits, count) if count <= most else (bits + 1, least)
