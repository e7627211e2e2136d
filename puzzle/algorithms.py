"""The registry of puzzles: the ways to take a stamp's digest, whose leading zero bits are the work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol

from calpow.puzzle.errors import PuzzleError, UnknownAlgorithm

SCRYPT = "scrypt"
SCRYPT_DIGEST_SIZE = 32
# What one digest may take of a client's memory, whatever a server asks for.
MOST_SCRYPT_BYTES = 64 << 20
MOST_SCRYPT_LANES = 16

Digest = Callable[[bytes], bytes]


class HashState(Protocol):
    """What a hash needs for its midstate to be reused: hashlib's objects have it."""

    def copy(self) -> HashState:
        """Return an independent state that has seen the same bytes."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""

    def digest(self) -> bytes:
        """Return the digest of the bytes seen so far."""


# Stamps hide nothing: also where policy forbids SHA-1 for security, it may count work.
HASHES: Mapping[str, Callable[[bytes], HashState]] = MappingProxyType(
    {
        "hashcash-sha1": partial(hashlib.sha1, usedforsecurity=False),
        "hashcash-sha256": partial(hashlib.sha256, usedforsecurity=False),
    }
)
ALGORITHMS = (*HASHES, SCRYPT)


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """What one digest of scrypt takes (RFC 7914, section 2): `128 * r * n` bytes, and time in `n * r * p`.

    Raises PuzzleError where OpenSSL would refuse, or beyond 64 MiB.
    """

    n: int
    r: int
    p: int

    def __post_init__(self) -> None:
        if self.n < 2 or self.n & (self.n - 1) or self.r < 1 or not 1 <= self.p <= MOST_SCRYPT_LANES:
            raise PuzzleError(f"scrypt with n={self.n}, r={self.r}, p={self.p}: n is a power of two, r and p positive")
        # p times the memory is what it takes in time, and no digest can be interrupted.
        if max(self.memory, 128 * self.r * self.n * self.p) > MOST_SCRYPT_BYTES:
            # Without saying how much: Python prints no number of more than 4300 digits.
            raise PuzzleError(f"scrypt that takes more memory than the {MOST_SCRYPT_BYTES >> 20} MiB that are spent")
        if self.n >= 1 << min(16 * self.r, 62):
            raise PuzzleError(f"scrypt with n={self.n}, r={self.r}: n must be below 2^(16 r)")

    @property
    def memory(self) -> int:
        """Bytes that one digest takes."""
        return 128 * self.r * (self.n + self.p)

    def digest(self, stamp: bytes) -> bytes:
        """The digest of a stamp: the stamp is the password, the salt is empty, 32 bytes."""
        # OpenSSL counts two blocks more than the formula says.
        limit = 128 * self.r * (self.n + self.p + 2)
        return hashlib.scrypt(stamp, salt=b"", n=self.n, r=self.r, p=self.p, maxmem=limit, dklen=SCRYPT_DIGEST_SIZE)


def digest_of(algorithm: str, cost: ScryptCost | None) -> Digest:
    """How this algorithm takes a stamp's digest. Raises UnknownAlgorithm, or PuzzleError for scrypt without a cost."""
    check_algorithm(algorithm, cost)
    if cost is not None:
        return cost.digest
    start = HASHES[algorithm]
    return lambda stamp: start(stamp).digest()


def check_algorithm(algorithm: str, cost: ScryptCost | None) -> None:
    """Scrypt has a cost, the others have none. Raises UnknownAlgorithm or PuzzleError."""
    if algorithm not in ALGORITHMS:
        raise UnknownAlgorithm(
            f"puzzle algorithm {algorithm[:40]!a} is not known here, only {', '.join(ALGORITHMS)}: upgrade calpow"
        )
    if (algorithm == SCRYPT) != (cost is not None):
        raise PuzzleError(f"puzzle algorithm {algorithm}: n, r and p belong to scrypt, and to it alone")
