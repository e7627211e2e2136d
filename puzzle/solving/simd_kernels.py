"""Machine code that tries many counters at once, compiled for the vector unit of this machine at first use.

llvmlite (the extra `calpow[fast]`) is a wheel that contains the compiler. The rounds of SHA-1 and SHA-256 (FIPS 180-4,
sections 6.1.2 and 6.2.2) are written as operations on words; on LLVM's words, these operations emit instructions. See
docs/decisions/0025.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

# Two or four registers: an addition in one does not wait for the operands of another.
LANES = 16 if llvm.get_host_cpu_features().get("avx512f") else 8
# The counter is seven letters from A to P. In one turn, the first four are fixed and the last three take all values.
HIGH_LETTERS = 4
LOW_LETTERS = 3
TRIES_PER_TURN = 16**LOW_LETTERS
TURNS = 16**HIGH_LETTERS
NOT_FOUND = -1

# FIPS 180-4, sections 5.3.1 and 5.3.3.
_SHA1_INITIAL = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
_SHA256_INITIAL = (
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
    """The machine code for one hash. States and blocks are arrays of 32-bit words, numbered as in FIPS 180-4.

    initial_state: the state before the first block.
    absorb(state, block): hashes one block into the state.
    search(state, block, mask, first, turns): tries all counters of `turns` turns from turn `first` on, in the words 12
        and 13 of the last block. Returns the number of the first one for which word 0 of the digest is zero under
        `mask`, as `turn * TRIES_PER_TURN + low letters`, or NOT_FOUND. Releases the GIL.
    owners: the objects that own the code, kept alive with it.
    """

    initial_state: tuple[int, ...]
    absorb: Callable[[Any, Any], None]
    search: Callable[[Any, Any, int, int, int], int]
    owners: object


@cache
def load_kernel(algorithm: str) -> Kernel:
    """Return the machine code for one of the two hashes. The first call in a process takes about 0.3 s, to compile."""
    initial, compress = {
        "hashcash-sha1": (_SHA1_INITIAL, _sha1),
        "hashcash-sha256": (_SHA256_INITIAL, _sha256),
    }[algorithm]
    words, number = ctypes.POINTER(ctypes.c_uint32), ctypes.c_uint32
    # `absorb` is called once or twice per stamp: it is not worth optimising.
    absorb_code = _compile(_absorb_module(len(initial), compress), optimization=0)
    search_code = _compile(_search_module(len(initial), compress), optimization=2)
    absorb = ctypes.CFUNCTYPE(None, words, words)(absorb_code.get_function_address("absorb"))
    search_type = ctypes.CFUNCTYPE(ctypes.c_int32, words, words, number, number, number)
    search = search_type(search_code.get_function_address("search"))
    return Kernel(initial, absorb, search, (absorb_code, search_code))


class _Word:
    """A 32-bit word of the program that is being emitted, or a vector of LANES such words.

    `builder` emits instructions where the word is computed; `lanes` emits inside the loop. Words that are the same in
    all lanes are computed before the loop, once.
    """

    def __init__(self, builder: Any, value: Any, lanes: Any = None) -> None:
        self.builder = builder
        self.value = value
        self.lanes = lanes or builder

    def __add__(self, other: _Word) -> _Word:
        return self.combined(other, ir.IRBuilder.add)

    def __xor__(self, other: _Word) -> _Word:
        return self.combined(other, ir.IRBuilder.xor)

    def __and__(self, other: _Word) -> _Word:
        return self.combined(other, ir.IRBuilder.and_)

    def __or__(self, other: _Word) -> _Word:
        return self.combined(other, ir.IRBuilder.or_)

    def left(self, bits: int) -> _Word:
        """Return the word shifted towards its high end."""
        return self.combined(self.constant(bits), ir.IRBuilder.shl)

    def right(self, bits: int) -> _Word:
        """Return the word shifted towards its low end."""
        return self.combined(self.constant(bits), ir.IRBuilder.lshr)

    def rotated(self, bits: int) -> _Word:
        """Return the word rotated towards its high end."""
        return self.left(bits) | self.right(32 - bits)

    def constant(self, value: int) -> _Word:
        """Return a constant word."""
        return _Word(self.builder, ir.Constant(_WORD, value), self.lanes)

    def spread(self) -> _Word:
        """Return the vector with this word in all lanes."""
        if self.value.type == _VECTOR:
            return self
        if isinstance(self.value, ir.Constant):
            return _Word(self.lanes, ir.Constant(_VECTOR, [self.value.constant] * LANES))
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        first_lane = self.builder.insert_element(undefined, self.value, _WORD(0))
        copies = self.builder.shuffle_vector(first_lane, undefined, ir.Constant(_VECTOR, [0] * LANES))
        return _Word(self.lanes, copies)

    def combined(self, other: _Word, operation: _Operation) -> _Word:
        """Return the result of an operation on this word and another."""
        left, right = (self, other) if self.value.type == other.value.type else (self.spread(), other.spread())
        return _Word(left.builder, operation(left.builder, left.value, right.value), left.lanes)


_WORD = ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, LANES)
_Operation = Callable[[Any, Any, Any], Any]  # a method of IRBuilder and its two operands
_Compress = Callable[[Sequence[_Word], Sequence[_Word]], list[_Word]]


def _sum(*words: _Word) -> _Word:
    return _combine(ir.IRBuilder.add, words)


def _xor(*words: _Word) -> _Word:
    return _combine(ir.IRBuilder.xor, words)


def _combine(operation: _Operation, words: Sequence[_Word]) -> _Word:
    """Combine first the words that are the same in all lanes, because that is done before the loop."""
    result, *others = sorted(words, key=lambda word: bool(word.value.type == _VECTOR))
    for other in others:
        result = result.combined(other, operation)
    return result


def _sha1(state: Sequence[_Word], block: Sequence[_Word]) -> list[_Word]:
    words = list(block)
    a, b, c, d, e = state
    constants = [a.constant(k) for k in (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6)]
    for t in range(80):
        if t >= 16:
            words.append(_xor(words[t - 3], words[t - 8], words[t - 14], words[t - 16]).rotated(1))
        f = (d ^ (b & (c ^ d))) if t < 20 else ((b & c) | (d & (b | c))) if 40 <= t < 60 else (b ^ c ^ d)
        e, d, c, b, a = d, c, b.rotated(30), a, _sum(words[t], constants[t // 20], e, f, a.rotated(5))
    return [before + after for before, after in zip(state, (a, b, c, d, e), strict=True)]


def _sha256(state: Sequence[_Word], block: Sequence[_Word]) -> list[_Word]:
    words = list(block)
    a, b, c, d, e, f, g, h = state
    for t, constant in enumerate(_SHA256_CONSTANTS):
        if t >= 16:
            low, high = words[t - 15], words[t - 2]
            sigma0 = low.rotated(25) ^ low.rotated(14) ^ low.right(3)
            sigma1 = high.rotated(15) ^ high.rotated(13) ^ high.right(10)
            words.append(_sum(words[t - 16], words[t - 7], sigma0, sigma1))
        sum1 = e.rotated(26) ^ e.rotated(21) ^ e.rotated(7)
        t1 = _sum(words[t], a.constant(constant), h, g ^ (e & (f ^ g)), sum1)
        t2 = (a.rotated(30) ^ a.rotated(19) ^ a.rotated(10)) + ((a & b) | (c & (a | b)))
        h, g, f, e, d, c, b, a = g, f, e, d + t1, c, b, a, t1 + t2
    return [before + after for before, after in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


def _sha256_constants() -> tuple[int, ...]:
    """Return 32 bits of the fractions of the cube roots of the first 64 primes (FIPS 180-4, section 4.2.2)."""
    primes = [n for n in range(2, 312) if all(n % divisor for divisor in range(2, n))]
    return tuple(_cube_root(prime << 96) & 0xFFFFFFFF for prime in primes)


def _cube_root(value: int) -> int:
    low, high = 0, 1 << 36
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= value else (low, middle)
    return low


_SHA256_CONSTANTS = _sha256_constants()


def _absorb_module(size: int, compress: _Compress) -> Any:
    """Return the LLVM module of `absorb`, for a state of `size` words."""
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
    """Return the LLVM module of `search`: a loop over turns, and inside it one over the low letters."""
    module, pointer = ir.Module(), _WORD.as_pointer()
    function = ir.Function(module, ir.FunctionType(_WORD, [pointer, pointer, _WORD, _WORD, _WORD]), "search")
    state_address, block_address, mask, first, turns = function.args
    names = ("entry", "turn", "try", "hit", "next_try", "next_turn", "end")
    entry, turn_block, try_block, hit, next_try, next_turn, end = map(function.append_basic_block, names)

    builder = ir.IRBuilder(entry)
    last = builder.add(first, turns)
    builder.branch(turn_block)

    per_turn, per_try = ir.IRBuilder(turn_block), ir.IRBuilder(try_block)
    turn, low = per_turn.phi(_WORD), per_try.phi(_WORD)
    state = _load(per_turn, state_address, size, per_try)
    block = _load(per_turn, block_address, 16, per_try)
    _set_counter(block, _Word(per_turn, turn, per_try), _Word(per_try, low))
    hit_bits = _zero_lanes(per_try, compress(state, block)[0] & _Word(per_turn, mask, per_try))
    per_try.cbranch(per_try.icmp_unsigned("!=", hit_bits, ir.IntType(LANES)(0)), hit, next_try)
    per_turn.branch(try_block)

    builder.position_at_end(hit)
    lane = builder.zext(builder.cttz(hit_bits, ir.IntType(1)(1)), _WORD)
    builder.ret(builder.add(builder.mul(turn, _WORD(TRIES_PER_TURN)), builder.add(low, lane)))

    _Loop(low, LANES, _WORD(0), _WORD(TRIES_PER_TURN), turn_block, try_block, next_turn).close(builder, next_try)
    _Loop(turn, 1, first, last, entry, turn_block, end).close(builder, next_turn)
    builder.position_at_end(end)
    builder.ret(_WORD(NOT_FOUND))
    return module


def _zero_lanes(builder: Any, word: _Word) -> Any:
    """Return a number with a bit for each lane of a vector, which is set where the lane is zero."""
    is_zero = builder.icmp_unsigned("==", word.value, ir.Constant(_VECTOR, [0] * LANES))
    return builder.bitcast(is_zero, ir.IntType(LANES))


@dataclass(frozen=True)
class _Loop:
    """A loop of `variable` from `start` up to, not including, `stop`; `before`, `body` and `after` are basic blocks."""

    variable: Any
    step: int
    start: Any
    stop: Any
    before: Any
    body: Any
    after: Any

    def close(self, builder: Any, last_block: Any) -> None:
        """Emit the end of the loop into `last_block`: the step, the comparison and the branch."""
        builder.position_at_end(last_block)
        following = builder.add(self.variable, _WORD(self.step))
        self.variable.add_incoming(self.start, self.before)
        self.variable.add_incoming(following, last_block)
        builder.cbranch(builder.icmp_unsigned("<", following, self.stop), self.body, self.after)


def _set_counter(block: list[_Word], turn: _Word, low: _Word) -> None:
    """Write the counters of a turn from `low` on, one per lane, and the bit that ends the message into a block."""
    lanes = low + _Word(low.builder, ir.Constant(_VECTOR, list(range(LANES))))
    block[12] = _letters(turn, HIGH_LETTERS)
    block[13] = _letters(lanes, LOW_LETTERS).left(8) | lanes.constant(0x80)


def _load(builder: Any, address: Any, count: int, lanes: Any = None) -> list[_Word]:
    """Load `count` words from memory."""
    addresses = [builder.gep(address, [_WORD(index)]) for index in range(count)]
    return [_Word(builder, builder.load(word, typ=_WORD), lanes) for word in addresses]


def _letters(number: _Word, count: int) -> _Word:
    """Return the last `count` hexadecimal digits as letters from A to P, the last one in the lowest byte."""
    letters = number.constant(0)
    for index in range(count):
        digit = number.right(4 * index) & number.constant(0xF)
        letters = letters | (digit + number.constant(ord("A"))).left(8 * index)
    return letters


def _compile(module: Any, optimization: int) -> Any:
    """Compile a module for this processor; the execution engine that is returned owns the code."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=optimization)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    return engine
