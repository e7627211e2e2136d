"""Registry of the digests that a stamp can have: SHA-1, SHA-256 (FIPS 180-4) and scrypt (RFC 7914).

The leading zero bits of a stamp's digest are its work.
"""

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
# The most memory that a client spends on one digest, whatever a server asks for.
MAX_SCRYPT_MEMORY = 64 << 20
MAX_SCRYPT_PARALLELIZATION = 16

Digest = Callable[[bytes], bytes]


class HashState(Protocol):
    """The part of a hashlib object that is needed to reuse a midstate."""

    def copy(self) -> HashState:
        """Return an independent state that has seen the same bytes."""

    def update(self, data: bytes, /) -> None:
        """Hash more bytes."""

    def digest(self) -> bytes:
        """Return the digest of the bytes seen so far."""


# A stamp hides nothing, so SHA-1 may count work also where it is forbidden for security.
HASHES: Mapping[str, Callable[[bytes], HashState]] = MappingProxyType(
    {
        "hashcash-sha1": partial(hashlib.sha1, usedforsecurity=False),
        "hashcash-sha256": partial(hashlib.sha256, usedforsecurity=False),
    }
)
ALGORITHMS = (*HASHES, SCRYPT)


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """The parameters of scrypt (RFC 7914, section 2): n is the cost, r the block size, p the parallelization.

    A digest takes about 128 r n bytes of memory, and time proportional to n r p. Raises PuzzleError for parameters that
    OpenSSL refuses, or that take more than 64 MiB.
    """

    n: int
    r: int
    p: int

    def __post_init__(self) -> None:
        if self.n < 2 or self.n & (self.n - 1) or self.r < 1 or not 1 <= self.p <= MAX_SCRYPT_PARALLELIZATION:
            raise PuzzleError(f"scrypt with n={self.n}, r={self.r}, p={self.p}: n is a power of two, r and p positive")
        # A digest cannot be interrupted, and its time is that of filling the memory p times: so p counts as well.
        if max(self.memory, 128 * self.r * self.n * self.p) > MAX_SCRYPT_MEMORY:
            # The text does not say how much, because Python refuses to print numbers of more than 4300 digits.
            raise PuzzleError(f"scrypt that takes more memory than the {MAX_SCRYPT_MEMORY >> 20} MiB that are spent")
        if self.n >= 1 << min(16 * self.r, 62):
            raise PuzzleError(f"scrypt with n={self.n}, r={self.r}: n must be below 2^(16 r)")

    @property
    def memory(self) -> int:
        """The memory that one digest takes, in bytes."""
        return 128 * self.r * (self.n + self.p)

    def digest(self, stamp: bytes) -> bytes:
        """Return the digest of a stamp: 32 bytes, with the stamp as password and an empty salt."""
        # OpenSSL counts two blocks more than the formula.
        limit = 128 * self.r * (self.n + self.p + 2)
        return hashlib.scrypt(stamp, salt=b"", n=self.n, r=self.r, p=self.p, maxmem=limit, dklen=SCRYPT_DIGEST_SIZE)


def digest_of(algorithm: str, cost: ScryptCost | None) -> Digest:
    """Return the function from a stamp to its digest. Raises as `check_algorithm` does."""
    check_algorithm(algorithm, cost)
    if cost is not None:
        return cost.digest
    start = HASHES[algorithm]
    return lambda stamp: start(stamp).digest()


def check_algorithm(algorithm: str, cost: ScryptCost | None) -> None:
    """Check that the algorithm is known, and that it has a cost if it is scrypt and none if it is not.

    Raises UnknownAlgorithm or PuzzleError.
    """
    if algorithm not in ALGORITHMS:
        raise UnknownAlgorithm(
            f"puzzle algorithm {algorithm[:40]!a} is not known here, only {', '.join(ALGORITHMS)}: upgrade calpow"
        )
    if (algorithm == SCRYPT) != (cost is not None):
        raise PuzzleError(f"puzzle algorithm {algorithm}: n, r and p belong to scrypt, and to it alone")
