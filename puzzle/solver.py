"""The solver: mints the stamps of a puzzle, tells how far it is, and stops when it is told to."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from calpow.puzzle.algorithms import HASHES, HashState
from calpow.puzzle.errors import SolvingCancelled, SolvingTooLong
from calpow.puzzle.puzzle import Puzzle

_BLOCK = 64  # bytes that SHA-1 and SHA-256 take in at once
_LEAST_RANDOM = 8  # characters of 6 bits: two mints of one stamp differ
_TAILS = tuple(b"%02x" % low for low in range(256))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a puzzle is: stamps found of `count`, seconds spent, and an estimate of those left (None at first)."""

    found: int
    count: int
    seconds: float
    seconds_left: float | None


def solve(
    puzzle: Puzzle,
    *,
    workers: int | None = None,
    max_seconds: float | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    date: datetime | None = None,
) -> list[str]:
    """Mint the stamps of a puzzle, in order; takes `puzzle.expected_hashes` digests on average.

    workers: how many cores to use; by default all, for puzzles that are worth it.
    max_seconds: when the puzzle will take more, or has, SolvingTooLong is raised.
    progress: called in this thread before the first stamp and after each; what it raises ends the work.
    cancel: when set, from any thread, the work ends at once with SolvingCancelled.
    date: what the stamps bear, by default now; in UTC.
    """
    del workers
    start = HASHES[puzzle.algorithm]
    now = time.perf_counter()
    made = (date or datetime.now(timezone.utc)).strftime("%y%m%d%H%M%S")
    stamps: list[str] = []
    for ext in range(puzzle.count + 1):
        seconds = time.perf_counter() - now
        if progress is not None:
            progress(Progress(ext, puzzle.count, seconds, seconds / ext * (puzzle.count - ext) if ext else None))
        if cancel is not None and cancel.is_set():
            raise SolvingCancelled("cancelled")
        if max_seconds is not None and seconds > max_seconds:
            raise SolvingTooLong(seconds, max_seconds)
        if ext < puzzle.count:
            stamps.append(_mint(start, f"1:{puzzle.bits}:{made}:{puzzle.resource}:{ext}:", puzzle.bits))
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
