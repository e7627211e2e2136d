"""The solver every Python has: one process, standard library only."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from datetime import datetime, timezone

from calpow.puzzle.puzzle import ALGORITHMS, HashState, Puzzle

_BLOCK = 64  # bytes that SHA-1 and SHA-256 take in at once
_LEAST_RANDOM = 8  # characters of 6 bits: two mints of one stamp differ
_TAILS = tuple(b"%02x" % low for low in range(256))


def solve(puzzle: Puzzle, *, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Mint the stamps of a puzzle, in order; takes `puzzle.expected_hashes` hashes on average.

    The counter of a stamp is, in hexadecimal, how many were tried before it. `progress(found, count)` is called
    before the first stamp and after each; what it raises ends the work.
    """
    start = ALGORITHMS[puzzle.algorithm]
    date = datetime.now(timezone.utc).strftime("%y%m%d%H%M%S")
    stamps: list[str] = []
    for ext in range(puzzle.count):
        if progress is not None:
            progress(ext, puzzle.count)
        stamps.append(_mint(start, f"1:{puzzle.bits}:{date}:{puzzle.resource}:{ext}:", puzzle.bits))
    if progress is not None:
        progress(puzzle.count, puzzle.count)
    return stamps


def _mint(start: Callable[[bytes], HashState], fields: str, bits: int) -> str:
    prefix = f"{fields}{_random_text(len(fields))}:".encode("ascii")
    size = len(start(b"").digest())
    # Bytes compare like the numbers they spell, so this one comparison is the test for leading zero bits.
    bound = (1 << (8 * size - bits)).to_bytes(size, "big")
    high = 0
    while True:
        copy = start(prefix + b"%x" % high).copy
        for tail in _TAILS:
            state = copy()
            state.update(tail)
            if state.digest() < bound:
                return (prefix + b"%x" % high + tail).decode("ascii")
        high += 1


def _random_text(length_before: int) -> str:
    # Filled up to whole blocks, which copy() carries over: each counter then costs one block and no more.
    size = _LEAST_RANDOM + -(length_before + _LEAST_RANDOM + 1) % _BLOCK
    return base64.b64encode(os.urandom(size))[:size].decode("ascii")
