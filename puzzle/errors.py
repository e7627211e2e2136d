"""The root of every error of Calpow, and the errors of the puzzle.

CalpowError
├── PuzzleError
│   ├── MalformedStamp
│   ├── WrongStamp
│   ├── MalformedChallenge
│   ├── MalformedSolution
│   ├── UnknownAlgorithm
│   ├── TooMuchWork
│   ├── SolvingCancelled
│   └── SolvingTooLong
└── (each room adds its own)
"""


class CalpowError(Exception):
    """Something a person can put right; its text is one line that says what was wrong and what to do."""


class PuzzleError(CalpowError):
    """A stamp, a challenge or a solution is not what it should be."""


class MalformedStamp(PuzzleError):
    """The text is not a version 1 stamp."""


class WrongStamp(PuzzleError):
    """A well-formed stamp that does not answer this puzzle: other resource, extension, bits or too little work."""


class MalformedChallenge(PuzzleError):
    """A challenge document or token that cannot be read, or asks for something absurd."""


class MalformedSolution(PuzzleError):
    """A PoW-Solution header that cannot be read."""


class UnknownAlgorithm(PuzzleError):
    """A puzzle this version cannot solve or verify."""


class TooMuchWork(PuzzleError):
    """The puzzle takes more expected hashes than the caller allows: `expected_hashes`, `limit`. Nothing was solved."""

    def __init__(self, expected_hashes: int, limit: int) -> None:
        super().__init__(
            f"the challenge takes about {expected_hashes:,} hashes, more than the limit of {limit:,}: "
            "raise the limit (max_hashes, --max-hashes) to do the work"
        )
        self.expected_hashes = expected_hashes
        self.limit = limit


class SolvingCancelled(PuzzleError):
    """The caller ended the work before the puzzle was solved."""


class SolvingTooLong(PuzzleError):
    """The puzzle takes, or took, more seconds than the caller allows.

    `expected_seconds` is the estimate for the whole puzzle on this machine, `limit` what was allowed.
    """

    def __init__(self, expected_seconds: float, limit: float) -> None:
        super().__init__(
            f"the puzzle takes about {expected_seconds:,.1f} s here, more than the {limit:,.1f} s allowed: "
            "allow more (max_seconds, --max-seconds), or use more or faster cores"
        )
        self.expected_seconds = expected_seconds
        self.limit = limit
