"""Machine code that tries many counters at once, compiled for this machine's vector unit when it is first needed.

llvmlite (the extra `calpow[fast]`) brings the compiler in a wheel. The rounds of SHA-1 and SHA-256 (FIPS 180-4,
sections 6.1.2 and 6.2.2) are written down once, as operations on words; run on words of LLVM's they become a program.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

# Two or four registers' worth: while one sum waits for its operands, another is under way.
LANES = 16 if llvm.get_host_cpu_features().get("avx512f") else 8
# The counter is seven letters from A to P: four that are fixed while the last three take all their values.
LAST_LETTERS = 3
TRIES_A_TURN = 16**LAST_LETTERS
TURNS = 16**4
NOTHING = -1

_SHA1_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
_SHA256_START = (
    0x6A09E667,
    0xBB67AE85,
    0x3C6EF372,
    0xA54FF53A,
    0x510E527F,
    0x9B05688C,
    0x1F83D9AB,
    0x5BE0CD19,
)


@dataclass(frozen=True)
class Kernel:
    """One hash's machine code. States and blocks are arrays of 32-bit words, as FIPS 180-4 numbers them.

    absorb(state, block): takes one whole block into the state.
    search(state, block, mask, first, turns): tries TRIES_A_TURN counters a turn, turns `first` to `first + turns`, in
        the words 12 and 13 of the last block; the number of the first whose digest's word 0 is zero under `mask`, as
        `turn * TRIES_A_TURN + last letters`, or NOTHING. Runs without Python's lock.
    keep: what the code lives in.
    """

    start: tuple[int, ...]
    absorb: Callable[[Any, Any], None]
    search: Callable[[Any, Any, int, int, int], int]
    keep: object


class _Compiling:
    """Held by the thread that compiles: without it, every thread that comes meanwhile would compile, too."""

    lock = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        """For a fork's child, whose parent may have held it."""
        cls.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Compiling.renew)


def kernel(algorithm: str) -> Kernel:
    """Compile (a third of a second or so) and keep; `algorithm` is one of the registry's two hashes."""
    with _Compiling.lock:
        return _kernel(algorithm)


@cache
def _kernel(algorithm: str) -> Kernel:
    start, compress = {"hashcash-sha1": (_SHA1_START, _sha1), "hashcash-sha256": (_SHA256_START, _sha256)}[algorithm]
    words, number = ctypes.POINTER(ctypes.c_uint32), ctypes.c_uint32
    # Called once or twice a stamp, so that it is not worth optimising.
    absorbing = _compile(_absorb_module(len(start), compress), effort=0)
    searching = _compile(_search_module(len(start), compress), effort=2)
    absorb = ctypes.CFUNCTYPE(None, words, words)(absorbing.get_function_address("absorb"))
    form = ctypes.CFUNCTYPE(ctypes.c_int32, words, words, number, number, number)
    search = form(searching.get_function_address("search"))
    return Kernel(start, absorb, search, (absorbing, searching))


class _Word:
    """A 32-bit word of the program that is being written, or a vector of LANES of them.

    `builder` writes where the word is computed: what is the same in all lanes before the loop, so that it is computed
    once; `lanes` writes in the loop.
    """

    def __init__(self, builder: Any, value: Any, lanes: Any = None) -> None:
        self.builder = builder
        self.value = value
        self.lanes = lanes or builder

    def __add__(self, other: _Word) -> _Word:
        return self._with(other, "add")

    def __xor__(self, other: _Word) -> _Word:
        return self._with(other, "xor")

    def __and__(self, other: _Word) -> _Word:
        return self._with(other, "and_")

    def __or__(self, other: _Word) -> _Word:
        return self._with(other, "or_")

    def left(self, bits: int) -> _Word:
        """Shifted towards the high end."""
        return self._with(self.constant(bits), "shl")

    def right(self, bits: int) -> _Word:
        """Shifted towards the low end."""
        return self._with(self.constant(bits), "lshr")

    def rotated(self, bits: int) -> _Word:
        """Rotated towards the high end."""
        return self.left(bits) | self.right(32 - bits)

    def constant(self, value: int) -> _Word:
        """A word of this program that is always `value`."""
        return _Word(self.builder, ir.Constant(_WORD, value), self.lanes)

    def spread(self) -> _Word:
        """In all lanes."""
        if self.value.type == _VECTOR:
            return self
        if isinstance(self.value, ir.Constant):
            return _Word(self.lanes, ir.Constant(_VECTOR, [self.value.constant] * LANES))
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        one = self.builder.insert_element(nothing, self.value, _WORD(0))
        return _Word(self.lanes, self.builder.shuffle_vector(one, nothing, ir.Constant(_VECTOR, [0] * LANES)))

    def _with(self, other: _Word, operation: str) -> _Word:
        one, two = (self, other) if self.value.type == other.value.type else (self.spread(), other.spread())
        return _Word(one.builder, getattr(one.builder, operation)(one.value, two.value), one.lanes)


_WORD = ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, LANES)
_Compress = Callable[[Sequence[_Word], Sequence[_Word]], list[_Word]]


def _all(operation: str, *words: _Word) -> _Word:
    """The words added or xored: first those that are the same in all lanes, since that is done once."""
    first, *others = sorted(words, key=lambda word: bool(word.value.type == _VECTOR))
    for other in others:
        first = first._with(other, operation)
    return first


def _sha1(state: Sequence[_Word], block: Sequence[_Word]) -> list[_Word]:
    words = list(block)
    a, b, c, d, e = state
    constants = [a.constant(k) for k in (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6)]
    for t in range(80):
        if t >= 16:
            words.append(_all("xor", words[t - 3], words[t - 8], words[t - 14], words[t - 16]).rotated(1))
        chosen = (d ^ (b & (c ^ d))) if t < 20 else ((b & c) | (d & (b | c))) if 40 <= t < 60 else (b ^ c ^ d)
        e, d, c, b, a = d, c, b.rotated(30), a, _all("add", words[t], constants[t // 20], e, chosen, a.rotated(5))
    return [one + other for one, other in zip(state, (a, b, c, d, e), strict=True)]


def _sha256(state: Sequence[_Word], block: Sequence[_Word]) -> list[_Word]:
    words = list(block)
    a, b, c, d, e, f, g, h = state
    for t, constant in enumerate(_SHA256_CONSTANTS):
        if t >= 16:
            low, high = words[t - 15], words[t - 2]
            words.append(
                _all(
                    "add",
                    words[t - 16],
                    words[t - 7],
                    low.rotated(25) ^ low.rotated(14) ^ low.right(3),
                    high.rotated(15) ^ high.rotated(13) ^ high.right(10),
                )
            )
        mixed = e.rotated(26) ^ e.rotated(21) ^ e.rotated(7)
        first = _all("add", words[t], a.constant(constant), h, g ^ (e & (f ^ g)), mixed)
        second = (a.rotated(30) ^ a.rotated(19) ^ a.rotated(10)) + ((a & b) | (c & (a | b)))
        h, g, f, e, d, c, b, a = g, f, e, d + first, c, b, a, first + second
    return [one + other for one, other in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


def _constants() -> tuple[int, ...]:
    """The first 32 bits of the fractions of the cube roots of the first 64 primes (FIPS 180-4, section 4.2.2)."""
    primes = [n for n in range(2, 312) if all(n % divisor for divisor in range(2, n))]
    return tuple(_cube_root(prime << 96) & 0xFFFFFFFF for prime in primes)


def _cube_root(value: int) -> int:
    low, high = 0, 1 << 36
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= value else (low, middle)
    return low


_SHA256_CONSTANTS = _constants()


def _absorb_module(size: int, compress: _Compress) -> Any:
    module, pointer = ir.Module(), _WORD.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, pointer]), "absorb")
    builder = ir.IRBuilder(function.append_basic_block())
    state, block = function.args
    after = compress(_load(builder, state, size), _load(builder, block, 16))
    for index, word in enumerate(after):
        builder.store(word.value, builder.gep(state, [_WORD(index)]))
    builder.ret_void()
    return module


def _search_module(size: int, compress: _Compress) -> Any:
    module, pointer = ir.Module(), _WORD.as_pointer()
    function = ir.Function(module, ir.FunctionType(_WORD, [pointer, pointer, _WORD, _WORD, _WORD]), "search")
    state_at, block_at, mask, first, turns = function.args
    names = ("entry", "a_turn", "try", "found", "go_on", "next_turn", "end")
    entry, a_turn, attempt, found, go_on, next_turn, end = map(function.append_basic_block, names)

    builder = ir.IRBuilder(entry)
    last = builder.add(first, turns)
    builder.branch(a_turn)

    same, lanes = ir.IRBuilder(a_turn), ir.IRBuilder(attempt)
    turn, tried = same.phi(_WORD), lanes.phi(_WORD)
    state, block = _load(same, state_at, size, lanes), _load(same, block_at, 16, lanes)
    block[12] = _letters(_Word(same, turn, lanes), 4)
    numbers = _Word(lanes, tried) + _Word(lanes, ir.Constant(_VECTOR, list(range(LANES))))
    # The bit after the last letter is where the message ends.
    block[13] = _letters(numbers, LAST_LETTERS).left(8) | numbers.constant(0x80)
    digest = compress(state, block)[0] & _Word(same, mask, lanes)
    hits = lanes.icmp_unsigned("==", digest.value, ir.Constant(_VECTOR, [0] * LANES))
    bits = lanes.bitcast(hits, ir.IntType(LANES))
    lanes.cbranch(lanes.icmp_unsigned("!=", bits, ir.IntType(LANES)(0)), found, go_on)
    same.branch(attempt)

    builder.position_at_end(found)
    lane = builder.zext(builder.cttz(bits, ir.IntType(1)(1)), _WORD)
    builder.ret(builder.add(builder.mul(turn, _WORD(TRIES_A_TURN)), builder.add(tried, lane)))

    _count(builder, tried, LANES, (a_turn, go_on), (_WORD(0), _WORD(TRIES_A_TURN)), (attempt, next_turn))
    _count(builder, turn, 1, (entry, next_turn), (first, last), (a_turn, end))
    builder.position_at_end(end)
    builder.ret(_WORD(NOTHING))
    return module


def _count(builder: Any, number: Any, step: int, blocks: Any, limits: Any, ways: Any) -> None:
    """Close the loop over a number: where it begins and goes on, from and up to which values, round again or out."""
    builder.position_at_end(blocks[1])
    following = builder.add(number, _WORD(step))
    number.add_incoming(limits[0], blocks[0])
    number.add_incoming(following, blocks[1])
    builder.cbranch(builder.icmp_unsigned("<", following, limits[1]), *ways)


def _load(builder: Any, at: Any, count: int, lanes: Any = None) -> list[_Word]:
    addresses = [builder.gep(at, [_WORD(index)]) for index in range(count)]
    return [_Word(builder, builder.load(address, typ=_WORD), lanes) for address in addresses]


def _letters(number: _Word, count: int) -> _Word:
    """The number's last `count` hexadecimal digits as letters from A to P, the last in the lowest byte."""
    letters = number.constant(0)
    for index in range(count):
        digit = number.right(4 * index) & number.constant(0xF)
        letters = letters | (digit + number.constant(ord("A"))).left(8 * index)
    return letters


def _compile(module: Any, effort: int) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=effort)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    return engine
