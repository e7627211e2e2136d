"""The miner that tries many counters at once; needs llvmlite, the extra `calpow[fast]`."""

from __future__ import annotations

import ctypes
import time

from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.miners import BLOCK, Slice, fields_before_random, random_text
from calpow.puzzle.solving.simd_kernels import LAST_LETTERS, NOTHING, TRIES_A_TURN, TURNS, kernel
from calpow.puzzle.stamp import leading_zero_bits

# Where the kernel expects the counter in the last block: seven letters, then the bit that ends the message.
_COUNTER_AT = 48
_FIRST_LETTERS = 4
_MARK = b"\x80"
# A call comes back after a millisecond or less.
_TURNS_A_CALL = 8
_WORD_BITS = 32
# How many bits the kernel looks at: all in a digest's first word. What it finds is then checked for more.
MOST_MASKED = _WORD_BITS


class VectorMiner:
    """Machine code in vector registers, without Python's lock: see calpow.puzzle.kernels."""

    def __init__(self, puzzle: Puzzle, date: str) -> None:
        self._puzzle = puzzle
        self._date = date
        self._kernel = kernel(puzzle.algorithm)
        self._digest = puzzle.digest
        asked = min(puzzle.bits, MOST_MASKED)
        self._mask = ((1 << asked) - 1) << (_WORD_BITS - asked)
        self._ext: int | None = None
        self._prefix = b""
        self._turn = 0
        self._state = (ctypes.c_uint32 * len(self._kernel.start))()
        self._block = (ctypes.c_uint32 * 16)()

    def mine(self, ext: int, seconds: float) -> Slice:
        """See Miner."""
        if ext != self._ext:
            self._begin(ext)
        end, digests = time.perf_counter() + seconds, 0
        while True:
            found = self._kernel.search(self._state, self._block, self._mask, self._turn, _TURNS_A_CALL)
            if found == NOTHING:
                digests += _TURNS_A_CALL * TRIES_A_TURN
                self._go_on(ext, self._turn + _TURNS_A_CALL)
            else:
                digests += found - self._turn * TRIES_A_TURN + 1
                stamp = self._stamp(found)
                if leading_zero_bits(self._digest(stamp.encode("ascii"))) >= self._puzzle.bits:
                    self._ext = None
                    return Slice(stamp, digests)
                self._go_on(ext, found // TRIES_A_TURN + 1)
            if time.perf_counter() > end:
                return Slice(None, digests)

    def _begin(self, ext: int) -> None:
        fields = fields_before_random(self._puzzle, self._date, ext)
        self._prefix = f"{fields}{random_text(len(fields), _COUNTER_AT)}:".encode("ascii")
        self._ext, self._turn = ext, 0
        self._state[:] = list(self._kernel.start)
        length = 8 * (len(self._prefix) + _FIRST_LETTERS + LAST_LETTERS)
        message = self._prefix + bytes(_FIRST_LETTERS + LAST_LETTERS) + _MARK + length.to_bytes(8, "big")
        for at in range(0, len(message), BLOCK):
            block = message[at : at + BLOCK]
            self._block[:] = [int.from_bytes(block[word : word + 4], "big") for word in range(0, BLOCK, 4)]
            if at + BLOCK < len(message):
                self._kernel.absorb(self._state, self._block)

    def _go_on(self, ext: int, turn: int) -> None:
        self._turn = turn
        if turn + _TURNS_A_CALL > TURNS:
            self._begin(ext)

    def _stamp(self, number: int) -> str:
        turn, last = divmod(number, TRIES_A_TURN)
        return self._prefix.decode("ascii") + _letters(turn, _FIRST_LETTERS) + _letters(last, LAST_LETTERS)


def _letters(number: int, count: int) -> str:
    return f"{number:0{count}x}".translate(_AS_LETTERS)


_AS_LETTERS = str.maketrans("0123456789abcdef", "ABCDEFGHIJKLMNOP")
