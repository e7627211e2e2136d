"""A miner that tries many counters at once in machine code; needs llvmlite, the extra `calpow[fast]`."""

from __future__ import annotations

import ctypes
import time

from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.miners import BLOCK, Slice, fields_before_random, random_text
from calpow.puzzle.solving.simd_kernels import (
    HIGH_LETTERS,
    LOW_LETTERS,
    NOT_FOUND,
    TRIES_PER_TURN,
    TURNS,
    load_kernel,
)
from calpow.puzzle.stamp import leading_zero_bits

# The kernel expects the counter here in the last block; the bit that ends the message follows it.
_COUNTER_OFFSET = 48
_END_OF_MESSAGE = b"\x80"
# A call takes a millisecond or less.
_TURNS_PER_CALL = 8
_WORD_BITS = 32
# The kernel compares the first word of a digest only; further bits are checked in Python.
MAX_MASKED_BITS = _WORD_BITS


class VectorMiner:
    """A miner that hashes in vector registers, see `simd_kernels`, and without the GIL."""

    def __init__(self, puzzle: Puzzle, date: str) -> None:
        self._puzzle = puzzle
        self._date = date
        self._kernel = load_kernel(puzzle.algorithm)
        self._digest = puzzle.digest
        masked = min(puzzle.bits, MAX_MASKED_BITS)
        self._mask = ((1 << masked) - 1) << (_WORD_BITS - masked)
        self._ext: int | None = None
        self._prefix = b""
        self._turn = 0
        self._state = (ctypes.c_uint32 * len(self._kernel.initial_state))()
        self._block = (ctypes.c_uint32 * 16)()

    def mine(self, ext: int, seconds: float) -> Slice:
        """Go on with the turn after that of the last slice if it was for the same ext."""
        if ext != self._ext:
            self._begin(ext)
        end, digests = time.perf_counter() + seconds, 0
        while True:
            number = self._kernel.search(self._state, self._block, self._mask, self._turn, _TURNS_PER_CALL)
            if number == NOT_FOUND:
                digests += _TURNS_PER_CALL * TRIES_PER_TURN
                self._go_on(ext, self._turn + _TURNS_PER_CALL)
            else:
                digests += number - self._turn * TRIES_PER_TURN + 1
                stamp = self._stamp(number)
                if leading_zero_bits(self._digest(stamp.encode("ascii"))) >= self._puzzle.bits:
                    self._ext = None
                    return Slice(stamp, digests)
                self._go_on(ext, number // TRIES_PER_TURN + 1)
            if time.perf_counter() > end:
                return Slice(None, digests)

    def _begin(self, ext: int) -> None:
        """Choose a new random field, and hash all blocks but the last one."""
        fields = fields_before_random(self._puzzle, self._date, ext)
        self._prefix = f"{fields}{random_text(len(fields), _COUNTER_OFFSET)}:".encode("ascii")
        self._ext, self._turn = ext, 0
        self._state[:] = list(self._kernel.initial_state)
        letters = HIGH_LETTERS + LOW_LETTERS
        bit_length = 8 * (len(self._prefix) + letters)
        message = self._prefix + bytes(letters) + _END_OF_MESSAGE + bit_length.to_bytes(8, "big")
        for start in range(0, len(message), BLOCK):
            block = message[start : start + BLOCK]
            self._block[:] = [int.from_bytes(block[word : word + 4], "big") for word in range(0, BLOCK, 4)]
            if start + BLOCK < len(message):
                self._kernel.absorb(self._state, self._block)

    def _go_on(self, ext: int, turn: int) -> None:
        self._turn = turn
        if turn + _TURNS_PER_CALL > TURNS:
            self._begin(ext)

    def _stamp(self, number: int) -> str:
        turn, low = divmod(number, TRIES_PER_TURN)
        return self._prefix.decode("ascii") + _letters(turn, HIGH_LETTERS) + _letters(low, LOW_LETTERS)


def _letters(number: int, count: int) -> str:
    return f"{number:0{count}x}".translate(_HEX_TO_LETTERS)


_HEX_TO_LETTERS = str.maketrans("0123456789abcdef", "ABCDEFGHIJKLMNOP")
