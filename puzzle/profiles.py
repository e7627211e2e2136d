"""Named puzzles that an owner can choose from: the digest, its cost, and the number of stamps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from calpow.puzzle.algorithms import SCRYPT, ScryptCost, check_algorithm
from calpow.puzzle.puzzle import LEAST_STAMPS, Puzzle, puzzle_size


@dataclass(frozen=True, slots=True)
class PuzzleKind:
    """The properties that all puzzles of one model share: the digest, and the range of the number of stamps.

    A puzzle has `least_stamps` to 2 x `least_stamps` - 1 stamps where these have `least_bits` bits or more; for less
    work it has fewer, down to FEWEST_STAMPS, so that solvers spend their time on digests rather than on beginning
    stamps. Sizes differ in steps of at most 1 / count, solving times have a relative standard deviation of
    1 / sqrt(count), and verification takes `count` digests. Raises UnknownAlgorithm or PuzzleError.
    """

    algorithm: str
    cost: ScryptCost | None = None
    least_stamps: int = LEAST_STAMPS
    least_bits: int = 1

    def __post_init__(self) -> None:
        check_algorithm(self.algorithm, self.cost)
        puzzle_size(1.0, self.least_stamps, self.least_bits)

    @property
    def most_stamps(self) -> int:
        """The largest number of stamps in a puzzle of this kind."""
        return 2 * self.least_stamps - 1

    def puzzle(self, work: float, resource: str) -> Puzzle:
        """Return the puzzle whose expected digests are nearest to `work`. Raises PuzzleError."""
        bits, count = puzzle_size(work, self.least_stamps, self.least_bits)
        return Puzzle(self.algorithm, resource, bits, count, self.cost)


@dataclass(frozen=True, slots=True)
class PuzzleProfile:
    """A kind of puzzle under a name, and the reason to choose it."""

    name: str
    kind: PuzzleKind
    reason: str


# See docs/decisions/0028.
PROFILES: Mapping[str, PuzzleProfile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            PuzzleProfile(
                "hashcash-sha1",
                PuzzleKind("hashcash-sha1"),
                "the HashCash that exists: verified in microseconds, minted by Debian's program too",
            ),
            PuzzleProfile(
                "hashcash-sha256",
                PuzzleKind("hashcash-sha256"),
                "where SHA-1 may not be used; no harder to build hardware for",
            ),
            PuzzleProfile(
                "scrypt",
                PuzzleKind(SCRYPT, ScryptCost(n=32, r=8, p=1)),
                "33 KiB a digest, the most with which 31 stamps are verified in 5 ms: against thieves with GPUs",
            ),
            PuzzleProfile(
                "scrypt-hard",
                PuzzleKind(SCRYPT, ScryptCost(n=1024, r=8, p=1), least_stamps=4),
                "1 MiB a digest: for models that take a second, since verifying takes some 20 ms",
            ),
        )
    }
)
DEFAULT_PROFILE = "hashcash-sha1"
