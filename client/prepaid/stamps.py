"""Prepaid stamps: the server's terms for them, and batches of them that make up a price."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace

from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.prepaid import prepaid_resource, subject_resource
from calpow.puzzle.puzzle import FEWEST_STAMPS, LEAST_STAMPS, MAX_BITS, Puzzle


@dataclass(frozen=True, slots=True)
class PrepaidTerms:
    """The server's terms for prepaid stamps.

    max_stamps: the most that one request may have.
    bits: those of the server's own stamps. To begin a stamp takes time, and so does verifying one: prepaid stamps are
        as large and few where that leaves FEWEST_STAMPS of them.
    """

    resource: str
    algorithm: str
    cost: ScryptCost | None
    max_stamps: int
    bits: int = 1

    @classmethod
    def of_challenge(cls, realm: str, key: str, puzzle: Puzzle, subject: str | None = None) -> PrepaidTerms:
        """Return the terms of a server that has sent a challenge with this realm and puzzle.

        Stamps name the `subject` that the server has announced, or else the key.
        """
        # Where a digest is expensive, a server reads no more stamps than its puzzles have: in [least, 2 least).
        max_stamps = 2 * LEAST_STAMPS - 1 if puzzle.cost is None else (1 << puzzle.count.bit_length()) - 1
        resource = prepaid_resource(realm, key) if subject is None else subject_resource(realm, subject)
        return cls(resource, puzzle.algorithm, puzzle.cost, max_stamps, puzzle.bits)

    def for_subject(self, subject: str) -> PrepaidTerms:
        """Return the terms for another subject of the same realm."""
        realm, _, _ = self.resource.rpartition("/")
        return replace(self, resource=subject_resource(realm, subject))

    def accepts_stamps_of(self, other: PrepaidTerms) -> bool:
        """Return whether stamps that were minted for the other terms are good for these."""
        return (self.resource, self.algorithm, self.cost) == (other.resource, other.algorithm, other.cost)

    def puzzle(self, hashes: int, max_count: int, price: int = 0) -> Puzzle | None:
        """Return the smallest puzzle of at least `hashes` and at most `max_count` stamps; None if there is none.

        price: the price that `hashes` are a part of, if they are.
        """
        if hashes > max_count << MAX_BITS:
            return None
        large = min(self.bits, _bits_of(max(price, hashes), 2 * FEWEST_STAMPS - 1), _bits_of(hashes, 1))
        bits = max(_bits_of(hashes, max_count), large)
        try:
            return Puzzle(self.algorithm, self.resource, bits, max(1, -(-hashes >> bits)), self.cost)
        except PuzzleError:
            return None


def _bits_of(hashes: int, max_count: int) -> int:
    """Return the bits, at least one, with which `max_count` stamps are no fewer than `hashes`."""
    return max(1, (-(-hashes // max_count) - 1).bit_length())


@dataclass(frozen=True, slots=True)
class StampBatch:
    """Stamps that were minted together.

    hashes: their expected work.
    stale_at: the time until which they can be sent, by time.monotonic().
    process: the id of the process that minted them.
    """

    stamps: tuple[str, ...]
    hashes: int
    stale_at: float
    process: int = field(default_factory=os.getpid)

    def is_usable(self) -> bool:
        """Return whether the stamps are fresh and minted by this process: those of a fork's parent are the parent's."""
        return self.process == os.getpid() and time.monotonic() < self.stale_at


@dataclass(frozen=True, slots=True)
class Prepayment:
    """A payment without a challenge: batches from the stock, and a puzzle for what they lack of the price."""

    batches: tuple[StampBatch, ...]
    puzzle: Puzzle | None

    @property
    def stamps(self) -> tuple[str, ...]:
        """The stamps from the stock."""
        return tuple(stamp for batch in self.batches for stamp in batch.stamps)

    @property
    def stock_hashes(self) -> int:
        """The expected work of the stamps from the stock."""
        return sum(batch.hashes for batch in self.batches)

    @property
    def hashes(self) -> int:
        """The expected work of all."""
        return self.stock_hashes + (self.puzzle.expected_hashes if self.puzzle is not None else 0)
