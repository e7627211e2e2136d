"""The puzzle: so many stamps of so many bits for one resource, and their verification."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from calpow.puzzle.algorithms import Digest, ScryptCost, check_algorithm, digest_of
from calpow.puzzle.errors import PuzzleError, WrongStamp
from calpow.puzzle.stamp import Stamp, leading_zero_bits

# 31 stamps of 40 bits are months of one core, and every count of hashes stays exact in a JSON number.
MAX_BITS = 40
# What fits into one request header of TorchServe (8 KB) beside the token.
MAX_COUNT = 64
MAX_RESOURCE_LENGTH = 128

_RESOURCE = re.compile(r"[!-9;-~]+")


@dataclass(frozen=True, slots=True)
class Puzzle:
    """`count` stamps of `bits` bits for `resource`; stamp i, from 0, has ext i. `cost` is scrypt's, else None.

    Raises UnknownAlgorithm, or PuzzleError for bits, count or a resource out of bounds.
    """

    algorithm: str
    resource: str
    bits: int
    count: int
    cost: ScryptCost | None = None

    def __post_init__(self) -> None:
        check_algorithm(self.algorithm, self.cost)
        if not 1 <= self.bits <= MAX_BITS:
            raise PuzzleError(f"a puzzle of {self.bits} bits: between 1 and {MAX_BITS} can be asked")
        if not 1 <= self.count <= MAX_COUNT:
            raise PuzzleError(f"a puzzle of {self.count} stamps: between 1 and {MAX_COUNT} can be asked")
        if len(self.resource) > MAX_RESOURCE_LENGTH or not _RESOURCE.fullmatch(self.resource):
            raise PuzzleError(
                f"puzzle resource {self.resource[:40]!a} must be 1 to {MAX_RESOURCE_LENGTH} "
                "printable ASCII characters without space and colon"
            )

    @property
    def expected_hashes(self) -> int:
        """The mean number of digests a solver needs."""
        return self.count << self.bits

    @property
    def digest(self) -> Digest:
        """How a stamp's digest is taken."""
        return digest_of(self.algorithm, self.cost)

    def verify(self, stamps: Sequence[str]) -> None:
        """Accept exactly the stamps this puzzle asks for, in order; the cheap checks come first.

        Raises MalformedStamp or WrongStamp at the first failure. Whether a solution was seen before is the
        ledger's to say.
        """
        self.check_fields(stamps)
        digest = self.digest
        for index, text in enumerate(stamps):
            found = leading_zero_bits(digest(text.encode("ascii")))
            if found < self.bits:
                raise WrongStamp(f"stamp {index} has {found} bits of work: this puzzle asks for {self.bits}")

    def check_fields(self, stamps: Sequence[str]) -> tuple[Stamp, ...]:
        """Read stamps and check all but their digests. Raises MalformedStamp or WrongStamp at the first failure."""
        if len(stamps) != self.count:
            raise WrongStamp(f"{len(stamps)} stamps: this puzzle asks for {self.count}")
        read = tuple(Stamp.parse(text) for text in stamps)
        for index, stamp in enumerate(read):
            self._check_field(index, stamp)
        return read

    def _check_field(self, index: int, stamp: Stamp) -> None:
        if stamp.resource != self.resource:
            raise WrongStamp(f"stamp {index} is for another resource: mint it for {self.resource}")
        if stamp.ext != str(index):
            raise WrongStamp(f"stamp {index} has ext {stamp.ext[:40]!r}: mint it with ext {index}")
        if stamp.bits != self.bits:
            raise WrongStamp(f"stamp {index} claims {stamp.bits} bits: mint it with {self.bits}")
