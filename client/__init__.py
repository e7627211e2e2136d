"""Proof-of-work authentication for requests, httpx and gRPC, and the command line for those who call a protected model.

`calpow.client.PowAuth` is for requests, `calpow.client.httpx.PowAuth` for httpx (pip install 'calpow[httpx]') and
`calpow.client.grpc.PowInterceptor` for grpcio (pip install 'calpow[grpc]').
`calpow.client.art` puts attacks of the Adversarial Robustness Toolbox on a protected model (pip install 'calpow[art]').
"""

from typing import TYPE_CHECKING

from calpow.client.errors import (
    AnswerUnreadable,
    BodyNotRewindable,
    Cancelled,
    ChallengeExpired,
    ChallengeUnreadable,
    ClientError,
    HeadersDropped,
    RequestRefused,
    TimeLimitExceeded,
    UnsolvableInTime,
    UnusableKey,
    WorkLimitExceeded,
)
from calpow.client.protocol.budget import DEFAULT_MAX_HASHES, DEFAULT_MAX_SECONDS, DEFAULT_MAX_WAIT

if TYPE_CHECKING:
    from calpow.client.requests import PowAuth

__all__ = [
    "DEFAULT_MAX_HASHES",
    "DEFAULT_MAX_SECONDS",
    "DEFAULT_MAX_WAIT",
    "AnswerUnreadable",
    "BodyNotRewindable",
    "Cancelled",
    "ChallengeExpired",
    "ChallengeUnreadable",
    "ClientError",
    "HeadersDropped",
    "PowAuth",
    "RequestRefused",
    "TimeLimitExceeded",
    "UnsolvableInTime",
    "UnusableKey",
    "WorkLimitExceeded",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import PowAuth when it is first used: users of httpx and `calpow --help` need not wait for requests."""
    if name == "PowAuth":
        from calpow.client.requests import PowAuth

        return PowAuth
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
