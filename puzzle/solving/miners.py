"""Miners search for the stamps of one puzzle, one time slice after another."""

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

BLOCK = 64  # bytes in a block of SHA-1 and of SHA-256 (FIPS 180-4, section 5.2.1)
_MIN_RANDOM_LENGTH = 8  # characters of 6 bits, so that no stamp is minted twice
_TAILS = tuple(b"%02x" % tail for tail in range(256))


@dataclass(frozen=True, slots=True)
class Slice:
    """The result of one time slice of mining: the stamp, if one was found, and the number of digests taken."""

    stamp: str | None
    digests: int


class Miner(Protocol):
    """Searches for the stamps of one puzzle. Tries are independent, so any number of miners can share a stamp."""

    def mine(self, ext: int, seconds: float) -> Slice:
        """Search for the stamp with this ext until it is found, or for about `seconds`."""


MinerFactory = Callable[[Puzzle, str], Miner]  # of a puzzle, and of the date that its stamps get


def fields_before_random(puzzle: Puzzle, date: str, ext: int) -> str:
    """Return the beginning of a stamp, up to its random field."""
    return f"1:{puzzle.bits}:{date}:{puzzle.resource}:{ext}:"


def random_text(length_before: int, block_offset: int = 0) -> str:
    """Return a random field of such a length that the counter begins at byte `block_offset` of a block.

    So only the last block has to be hashed for each counter. `length_before` is the length of the fields before the
    random field; a colon follows it.
    """
    size = _MIN_RANDOM_LENGTH + (block_offset - length_before - _MIN_RANDOM_LENGTH - 1) % BLOCK
    return base64.b64encode(os.urandom(size))[:size].decode("ascii")


class PlainMiner:
    """A miner that needs hashlib only.

    It tries the counters of a stamp from 0 on, in hexadecimal, so the counter of a stamp tells how many tries it took.
    """

    def __init__(self, puzzle: Puzzle, date: str) -> None:
        self._puzzle = puzzle
        self._date = date
        self._hash = HASHES[puzzle.algorithm]
        size = len(self._hash(b"").digest())
        # Bytes compare like the numbers that they encode, so one comparison tests for leading zero bits.
        self._bound = (1 << (8 * size - puzzle.bits)).to_bytes(size, "big")
        self._ext: int | None = None
        self._prefix = b""
        self._high = 0  # the counter without its last two digits

    def mine(self, ext: int, seconds: float) -> Slice:
        """Go on with the counter of the last slice if it was for the same ext."""
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
        copy, bound = self._hash(self._prefix + b"%x" % self._high).copy, self._bound
        for tail in _TAILS:
            state = copy()
            state.update(tail)
            if state.digest() < bound:
                return _TAILS.index(tail)
        return None


class ScryptMiner:
    """A miner for scrypt. OpenSSL releases the GIL during a digest, so threads can mine at the same time."""

    def __init__(self, puzzle: Puzzle, date: str) -> None:
        self._puzzle = puzzle
        self._date = date
        self._digest = puzzle.digest

    def mine(self, ext: int, seconds: float) -> Slice:
        """Take one digest at least: it cannot be interrupted."""
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
