"""What can go wrong between asking and being answered.

CalpowError
└── ClientError (also requests.RequestException: it carries .request and .response)
    ├── UnusableKey           the key cannot stand in a header
    ├── BodyNotRewindable     the body could be sent once only; nothing was sent
    ├── ChallengeUnreadable   a 402 whose challenge this version cannot solve
    ├── WorkLimitExceeded     the server asks for more work than was allowed; nothing was solved for it
    └── ChallengeLoop         one solution after another was refused
"""

from __future__ import annotations

import requests

from calpow.puzzle.errors import CalpowError


class ClientError(CalpowError, requests.RequestException):
    """A request that PowAuth could not bring to an answer; the server's last word is in `response`."""


class UnusableKey(ClientError):
    """The API key holds characters that cannot stand in a header; its text does not repeat the key."""


class BodyNotRewindable(ClientError):
    """The body is a generator, a pipe or the like, and a challenged request has to be sent twice."""


class ChallengeUnreadable(ClientError):
    """The server sent a challenge that is malformed, absurd, or of an unknown algorithm."""


class WorkLimitExceeded(ClientError):
    """The answer would take more expected hashes in all than `limit` allows: `expected_hashes`."""

    def __init__(self, expected_hashes: int, limit: int, response: requests.Response) -> None:
        super().__init__(
            f"the answer takes about {expected_hashes:,} hashes, more than the limit of {limit:,}: "
            "raise the limit (max_hashes, --max-hashes) to do the work",
            response=response,
        )
        self.expected_hashes = expected_hashes
        self.limit = limit


class ChallengeLoop(ClientError):
    """The server answered every solution with a new challenge; its last reason is in the text."""
