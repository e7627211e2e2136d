"""What the API consumer runs: proof-of-work authentication for requests and httpx, and the command line.

`calpow.client.PowAuth` is for requests; `calpow.client.httpx.PowAuth` for httpx (pip install 'calpow[httpx]').
"""

from calpow.client.errors import (
    BodyNotRewindable,
    Cancelled,
    ChallengeExpired,
    ChallengeUnreadable,
    ClientError,
    HeadersDropped,
    TimeLimitExceeded,
    UnsolvableInTime,
    UnusableKey,
    WorkLimitExceeded,
)
from calpow.client.protocol.exchange import DEFAULT_MAX_HASHES, DEFAULT_MAX_SECONDS, DEFAULT_MAX_WAIT
from calpow.client.requests import PowAuth

__all__ = [
    "DEFAULT_MAX_HASHES",
    "DEFAULT_MAX_SECONDS",
    "DEFAULT_MAX_WAIT",
    "BodyNotRewindable",
    "Cancelled",
    "ChallengeExpired",
    "ChallengeUnreadable",
    "ClientError",
    "HeadersDropped",
    "PowAuth",
    "TimeLimitExceeded",
    "UnsolvableInTime",
    "UnusableKey",
    "WorkLimitExceeded",
]
