"""Named puzzles: which digest, at what cost, in how many stamps, and why one would choose it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from calpow.puzzle.algorithms import SCRYPT, ScryptCost, check_algorithm
from calpow.puzzle.difficulty import LEAST_STAMPS, puzzle_size
from calpow.puzzle.puzzle import Puzzle


@dataclass(frozen=True, slots=True)
class Kind:
    """What all puzzles of one model have in common: the digest, and from how many stamps on bits are added.

    Counts lie between `least_stamps` and twice that: steps of at most 1 / least_stamps, and a spread of solving times
    of 1 / sqrt(count); verifying takes `count` digests. Raises UnknownAlgorithm or PuzzleError.
    """

    algorithm: str
    cost: ScryptCost | None = None
    least_stamps: int = LEAST_STAMPS

    def __post_init__(self) -> None:
        check_algorithm(self.algorithm, self.cost)
        puzzle_size(1.0, self.least_stamps)

    @property
    def most_stamps(self) -> int:
        """The largest count of a puzzle of this kind."""
        return 2 * self.least_stamps - 1

    def puzzle(self, work: float, resource: str) -> Puzzle:
        """The puzzle whose expected digests are nearest to `work`. Raises PuzzleError."""
        bits, count = puzzle_size(work, self.least_stamps)
        return Puzzle(self.algorithm, resource, bits, count, self.cost)


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind that an owner can choose by its name, and the reason to."""

    name: str
    kind: Kind
    reason: str


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                "hashcash-sha1",
                Kind("hashcash-sha1"),
                "the HashCash that exists: verified in microseconds, minted by Debian's program too",
            ),
            Profile(
                "hashcash-sha256",
                Kind("hashcash-sha256"),
                "where SHA-1 may not be used; no harder to build hardware for",
            ),
            Profile(
                "scrypt",
                Kind(SCRYPT, ScryptCost(n=32, r=8, p=1)),
                "33 KiB a digest, the most with which 31 stamps are verified in 5 ms: against thieves with GPUs",
            ),
            Profile(
                "scrypt-hard",
                Kind(SCRYPT, ScryptCost(n=1024, r=8, p=1), least_stamps=4),
                "1 MiB a digest: for models that take a second, since verifying takes some 20 ms",
            ),
        )
    }
)
DEFAULT_PROFILE = "hashcash-sha1"
