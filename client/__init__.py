"""What the API consumer runs: proof-of-work authentication for requests and the command line."""

from calpow.client.auth import DEFAULT_MAX_HASHES, PowAuth
from calpow.client.errors import (
    BodyNotRewindable,
    ChallengeLoop,
    ChallengeUnreadable,
    ClientError,
    UnusableKey,
    WorkLimitExceeded,
)

__all__ = [
    "DEFAULT_MAX_HASHES",
    "BodyNotRewindable",
    "ChallengeLoop",
    "ChallengeUnreadable",
    "ClientError",
    "PowAuth",
    "UnusableKey",
    "WorkLimitExceeded",
]
