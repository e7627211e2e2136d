"""The root of all errors of Calpow, and the errors of the puzzle.

CalpowError
├── PuzzleError
│   ├── MalformedStamp
│   ├── WrongStamp
│   ├── MalformedChallenge
│   ├── MalformedSolution
│   ├── UnknownAlgorithm
│   ├── TooMuchWork
│   ├── SolvingCancelled
│   ├── SolvingTooLong
│   └── MinerDied
└── (the other packages add their own)
"""

from __future__ import annotations

from typing import Literal

# A field of the stamp, the number of stamps, too little work, or a stamp that is there twice.
StampFault = Literal["resource", "ext", "bits", "count", "work", "repeated"]


class CalpowError(Exception):
    """An error that a person can put right. Its text is one line that says what is wrong and what to do."""


class PuzzleError(CalpowError):
    """A stamp, a challenge or a solution is not as it should be."""


class MalformedStamp(PuzzleError):
    """The text is not a version 1 stamp."""


class WrongStamp(PuzzleError):
    """A well-formed stamp is not one that the puzzle asks for; `fault` is the field or property that is wrong."""

    def __init__(self, message: str, fault: StampFault) -> None:
        super().__init__(message)
        self.fault = fault


class MalformedChallenge(PuzzleError):
    """A challenge document or token cannot be read, or asks for something absurd."""


class MalformedSolution(PuzzleError):
    """A PoW-Solution header cannot be read."""


class UnknownAlgorithm(PuzzleError):
    """The puzzle has an algorithm that this version of Calpow cannot solve or verify."""


class TooMuchWork(PuzzleError):
    """The puzzle is expected to take more hashes than the caller allows; no work was done.

    `expected_hashes` is the work of the puzzle, `limit` the number of hashes allowed.
    """

    def __init__(self, expected_hashes: int, limit: int) -> None:
        super().__init__(
            f"the challenge takes about {expected_hashes:,} hashes, more than the limit of {limit:,}: "
            "raise the limit (max_hashes, --max-hashes) to do the work"
        )
        self.expected_hashes = expected_hashes
        self.limit = limit


class SolvingCancelled(PuzzleError):
    """The caller cancelled the work before the puzzle was solved."""


class SolvingTooLong(PuzzleError):
    """The puzzle takes, or took, more seconds than the caller allows.

    `expected_seconds` is the estimate for the whole puzzle on this machine, `limit` the number of seconds allowed.
    """

    def __init__(self, expected_seconds: float, limit: float) -> None:
        super().__init__(
            f"the puzzle takes about {expected_seconds:,.1f} s here, more than the {limit:,.1f} s allowed: "
            "allow more (max_seconds, --max-seconds), or use more or faster cores"
        )
        self.expected_seconds = expected_seconds
        self.limit = limit


class MinerDied(PuzzleError):
    """A miner's process ended by itself, or could not be started."""


class SlowSolverWarning(RuntimeWarning):
    """The fast solver is installed and does not work here."""
