"""Puzzles: their number of stamps, the bits of each stamp, and the verification of solutions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from calpow.puzzle.algorithms import Digest, ScryptCost, check_algorithm, digest_of
from calpow.puzzle.errors import PuzzleError, WrongStamp
from calpow.puzzle.stamp import Stamp, leading_zero_bits

# 31 stamps of 40 bits take one core months, and every number of hashes stays exact as a JSON number.
MAX_BITS = 40
# As many as fit into one request header of TorchServe (8 KB) beside the token.
MAX_COUNT = 64
# Counts of 16 to 31 make steps of at most 1/16 between sizes, and a spread of solving times of at most 25 %
# (decision 0028).
LEAST_STAMPS = 16
# Where the digests of so many stamps would take little longer than beginning them, puzzles have fewer (decision 0047).
FEWEST_STAMPS = 4
MAX_RESOURCE_LENGTH = 128

_RESOURCE = re.compile(r"[!-9;-~]+")


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A request for `count` stamps of `bits` bits each, for `resource`; stamp i, from 0, has ext i.

    `cost` is that of scrypt, and None for the other algorithms. Raises UnknownAlgorithm, or PuzzleError if bits, count
    or resource are out of bounds.
    """

    algorithm: str
    resource: str
    bits: int
    count: int
    cost: ScryptCost | None = None

    def __post_init__(self) -> None:
        check_algorithm(self.algorithm, self.cost)
        if not 1 <= self.bits <= MAX_BITS:
            raise PuzzleError(f"a puzzle of {self.bits} bits: it must have 1 to {MAX_BITS}")
        if not 1 <= self.count <= MAX_COUNT:
            raise PuzzleError(f"a puzzle of {self.count} stamps: it must have 1 to {MAX_COUNT}")
        if len(self.resource) > MAX_RESOURCE_LENGTH or not _RESOURCE.fullmatch(self.resource):
            raise PuzzleError(
                f"puzzle resource {self.resource[:40]!a} must be 1 to {MAX_RESOURCE_LENGTH} "
                "printable ASCII characters without space and colon"
            )

    @property
    def expected_hashes(self) -> int:
        """The mean number of digests that a solver takes."""
        return self.count << self.bits

    @property
    def digest(self) -> Digest:
        """The function from a stamp to its digest."""
        return digest_of(self.algorithm, self.cost)

    def verify(self, stamps: Sequence[str]) -> None:
        """Check that these are the stamps of this puzzle, in order; fields are checked before anything is hashed.

        Raises MalformedStamp or WrongStamp at the first failure. Does not know which solutions were used before: the
        ledger does.
        """
        self.check_fields(stamps)
        digest = self.digest
        for index, text in enumerate(stamps):
            bits = leading_zero_bits(digest(text.encode("ascii")))
            if bits < self.bits:
                raise WrongStamp(f"stamp {index} has {bits} bits of work: this puzzle asks for {self.bits}", "work")

    def check_fields(self, stamps: Sequence[str]) -> tuple[Stamp, ...]:
        """Parse stamps and check everything but their digests.

        Raises MalformedStamp or WrongStamp at the first failure.
        """
        if len(stamps) != self.count:
            raise WrongStamp(f"{len(stamps)} stamps: this puzzle asks for {self.count}", "count")
        parsed = tuple(Stamp.parse(text) for text in stamps)
        for index, stamp in enumerate(parsed):
            self._check_stamp_fields(index, stamp)
        return parsed

    def _check_stamp_fields(self, index: int, stamp: Stamp) -> None:
        if stamp.resource != self.resource:
            raise WrongStamp(f"stamp {index} is for another resource: mint it for {self.resource}", "resource")
        if stamp.ext != str(index):
            raise WrongStamp(f"stamp {index} has ext {stamp.ext[:40]!r}: mint it with ext {index}", "ext")
        if stamp.bits != self.bits:
            raise WrongStamp(f"stamp {index} claims {stamp.bits} bits: mint it with {self.bits}", "bits")


def puzzle_size(work: float, least: int = LEAST_STAMPS, least_bits: int = 1) -> tuple[int, int]:
    """Return (bits, count) of the puzzle whose expected digests, count x 2^bits, are nearest to `work`.

    `count` lies in [least, 2 least) where the stamps then have `least_bits` bits or more. Less work is asked for by
    fewer stamps of `least_bits` bits, down to FEWEST_STAMPS, then by up to 2 x FEWEST_STAMPS - 1 stamps of fewer bits,
    and at last by the number of stamps of one bit, at least one. Work beyond the largest puzzle gives the largest
    puzzle. Raises PuzzleError if `work` is negative or not a number, if `least` is not between 1 and 32, or if
    `least_bits` is not between 1 and MAX_BITS.
    """
    if not work >= 0:
        raise PuzzleError(f"a puzzle cannot ask for {work} hashes: the work must be 0 or more")
    if not 1 <= least <= MAX_COUNT // 2:
        raise PuzzleError(f"puzzles of at least {least} stamps: the least must be between 1 and {MAX_COUNT // 2}")
    if not 1 <= least_bits <= MAX_BITS:
        raise PuzzleError(f"stamps of at least {least_bits} bits: the least must be between 1 and {MAX_BITS}")
    work = min(work, float((2 * least - 1) << MAX_BITS))
    bits = _bits_of(work, least)
    if bits < least_bits:
        fewest = min(FEWEST_STAMPS, least)
        bits = min(least_bits, _bits_of(work, fewest))
        if bits < least_bits:
            least = fewest
    count = max(1, round(work / 2**bits))
    return (bits, count) if count < 2 * least else (bits + 1, least)


def _bits_of(work: float, least: int) -> int:
    """Return the bits, at least one, with which work / 2^bits lies in [least, 2 least)."""
    return max(1, math.frexp(work / least)[1] - 1)
