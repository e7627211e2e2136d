"""Prepaid stamps: what they are minted for, and how many of which size make up a price."""

from __future__ import annotations

from dataclasses import dataclass

from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.puzzle import MAX_BITS, Puzzle


@dataclass(frozen=True, slots=True)
class Work:
    """What a URL's stamps are minted for: resource, algorithm and cost, and how many of them a server reads."""

    resource: str
    algorithm: str
    cost: ScryptCost | None
    most: int

    def is_as_good_as(self, other: Work) -> bool:
        """Whether the stamps of one are stamps of the other."""
        return (self.resource, self.algorithm, self.cost) == (other.resource, other.algorithm, other.cost)

    def puzzle(self, hashes: int, room: int) -> Puzzle | None:
        """The smallest puzzle of at least so much work and at most `room` stamps; None if there is none."""
        if room < 1:
            return None
        bits = next((bits for bits in range(1, MAX_BITS + 1) if hashes <= room << bits), None)
        if bits is None:
            return None
        try:
            return Puzzle(self.algorithm, self.resource, bits, max(1, -(-hashes >> bits)), self.cost)
        except PuzzleError:
            return None


@dataclass(frozen=True, slots=True)
class Batch:
    """Stamps of one puzzle, their expected work, and until when they can be sent, by time.monotonic()."""

    stamps: tuple[str, ...]
    hashes: int
    stale_at: float


@dataclass(frozen=True, slots=True)
class Prepayment:
    """What pays for a request beforehand: stamps that are in stock, and the puzzle of those that are not, if any."""

    stock: tuple[Batch, ...]
    puzzle: Puzzle | None

    @property
    def stamps(self) -> tuple[str, ...]:
        """Those in stock."""
        return tuple(stamp for batch in self.stock for stamp in batch.stamps)

    @property
    def stock_hashes(self) -> int:
        """The expected work of those in stock."""
        return sum(batch.hashes for batch in self.stock)

    @property
    def hashes(self) -> int:
        """The expected work of all."""
        return self.stock_hashes + (self.puzzle.expected_hashes if self.puzzle is not None else 0)
