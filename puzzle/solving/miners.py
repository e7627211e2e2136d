"""Miners: each tries counters for the stamps of one puzzle, a slice of time at a time, in one of four ways."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from calpow.puzzle.algorithms import HASHES
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.stamp import leading_zero_bits

BLOCK = 64  # bytes that SHA-1 and SHA-256 take in at once
_LEAST_RANDOM = 8  # characters of 6 bits: two mints of one stamp differ
_TAILS = tuple(b"%02x" % low for low in range(256))


@dataclass(frozen=True, slots=True)
class Slice:
    """What a miner did in a slice of time: the stamp, if it found one, and how many digests it took."""

    stamp: str | None
    digests: int


class Miner(Protocol):
    """Tries counters for one stamp after another; every try is as good as any other, here or elsewhere."""

    def mine(self, ext: int, seconds: float) -> Slice:
        """Try for the stamp with this ext, until it is found or about so many seconds are over."""


def fields_before_random(puzzle: Puzzle, date: str, ext: int) -> str:
    """The beginning of a stamp, up to its random field."""
    return f"1:{puzzle.bits}:{date}:{puzzle.resource}:{ext}:"


def random_text(length_before: int, block_offset: int = 0) -> str:
    """A random field, so long that the counter begins at a block's byte `block_offset`: earlier blocks need no repeat.

    `length_before` is that of the text up to the field; a colon follows it.
    """
    size = _LEAST_RANDOM + (block_offset - length_before - _LEAST_RANDOM - 1) % BLOCK
    return base64.b64encode(os.urandom(size))[:size].decode("ascii")


class PlainMiner:
    """What every Python can do: hashlib, one counter after the other; a counter says how many were tried before it."""

    def __init__(self, puzzle: Puzzle, date: str) -> None:
        self._puzzle = puzzle
        self._date = date
        self._start = HASHES[puzzle.algorithm]
        size = len(self._start(b"").digest())
        # Bytes compare like the numbers they spell, so this one comparison is the test for leading zero bits.
        self._bound = (1 << (8 * size - puzzle.bits)).to_bytes(size, "big")
        self._ext: int | None = None
        self._prefix = b""
        self._high = 0

    def mine(self, ext: int, seconds: float) -> Slice:
        """See Miner."""
        if ext != self._ext:
            fields = fields_before_random(self._puzzle, self._date, ext)
            self._prefix = f"{fields}{random_text(len(fields))}:".encode("ascii")
            self._ext, self._high = ext, 0
        first, end = self._high, time.perf_counter() + seconds
        while True:
            tail = self._try_tails()
            if tail is not None:
                stamp = self._prefix + b"%x" % self._high + _TAILS[tail]
                self._ext = None
                return Slice(stamp.decode("ascii"), (self._high - first) * len(_TAILS) + tail + 1)
            self._high += 1
            if time.perf_counter() > end:
                return Slice(None, (self._high - first) * len(_TAILS))

    def _try_tails(self) -> int | None:
        copy, bound = self._start(self._prefix + b"%x" % self._high).copy, self._bound
        for tail in _TAILS:
            state = copy()
            state.update(tail)
            if state.digest() < bound:
                return _TAILS.index(tail)
        return None


class ScryptMiner:
    """One digest of scrypt after the other; OpenSSL lets go of Python's lock meanwhile."""

    def __init__(self, puzzle: Puzzle, date: str) -> None:
        self._puzzle = puzzle
        self._date = date
        self._digest = puzzle.digest

    def mine(self, ext: int, seconds: float) -> Slice:
        """See Miner."""
        fields = fields_before_random(self._puzzle, self._date, ext)
        prefix = f"{fields}{random_text(len(fields))}:"
        end = time.perf_counter() + seconds
        tried = 0
        while True:
            stamp = f"{prefix}{tried:x}"
            tried += 1
            if leading_zero_bits(self._digest(stamp.encode("ascii"))) >= self._puzzle.bits:
                return Slice(stamp, tried)
            if time.perf_counter() > end:
                return Slice(None, tried)


MakeMiner = Callable[[Puzzle, str], Miner]
