"""Stamps that pay for a request before it is challenged, and how many of which size make up a price."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.prepaid import FRESH_SECONDS
from calpow.puzzle.puzzle import MAX_BITS, MAX_COUNT, Puzzle

# Stamps are thrown away so long before the server would refuse them.
MARGIN_SECONDS = 60
# TorchServe takes headers of 8 KB in all.
_LONGEST_PAYMENT = 7000
# Beyond what was announced, stamps are made so small that at most a sixteenth of their work is too much.
_MOST_EXTRA = 32


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
    """Stamps of one puzzle, and until when they can be sent, by time.monotonic()."""

    stamps: tuple[str, ...]
    hashes: int
    stale_at: float


@dataclass(frozen=True, slots=True)
class Payment:
    """Stamps that go with one request."""

    work: Work
    batches: tuple[Batch, ...] = ()

    @property
    def stamps(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(stamp for each in self.batches for stamp in each.stamps)

    @property
    def hashes(self) -> int:
        """Their expected work."""
        return sum(each.hashes for each in self.batches)

    @property
    def fresh_seconds(self) -> float:
        """How long they can still be sent."""
        return min((each.stale_at for each in self.batches), default=0.0) - time.monotonic()

    def and_also(self, batch: Batch) -> Payment:
        """The payment with more stamps."""
        return replace(self, batches=(*self.batches, batch))

    def missing(self, hashes: int) -> Puzzle | None:
        """The puzzle that makes this a payment of at least so many hashes; None where that is impossible."""
        most = self.work.most if self.work.cost is not None else MAX_COUNT
        room = min(most - len(self.stamps), _MOST_EXTRA)
        puzzle = self.work.puzzle(hashes - self.hashes, room)
        longest = max((len(stamp) for stamp in self.stamps), default=0) + 1
        if puzzle is None or (len(self.stamps) + puzzle.count) * longest > _LONGEST_PAYMENT:
            return None
        return puzzle


def batch_of(puzzle: Puzzle, stamps: Iterable[str], began: float) -> Batch:
    """The stamps of a puzzle, minted from `began` (time.monotonic()) on."""
    return Batch(tuple(stamps), puzzle.expected_hashes, began + FRESH_SECONDS - MARGIN_SECONDS)
