"""What can go wrong between asking and being answered.

CalpowError
└── ClientError              it carries .request and .response, those of the HTTP library, where they exist
    ├── UnusableKey          the key cannot stand in a header
    ├── BodyNotRewindable    the body could be sent once only; nothing was sent
    ├── HeadersDropped       something between client and server drops the headers of this protocol
    ├── ChallengeUnreadable  a 402 whose challenge this version cannot solve
    ├── ChallengeExpired     the challenge had expired when it came; nothing was solved for it
    ├── UnsolvableInTime     the challenge expires before it can be solved here
    ├── WorkLimitExceeded    the server asks for more work than was allowed; nothing was solved for it
    ├── TimeLimitExceeded    the work takes more seconds than were allowed
    └── Cancelled            the caller ended the work or the waiting

What the PowAuth of requests raises is a requests.RequestException as well, what that of httpx raises an
httpx.RequestError: `except WorkLimitExceeded`, `except ClientError` and the library's own root all catch it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from calpow.puzzle.errors import CalpowError


class ClientError(CalpowError):
    """A request that PowAuth could not bring to an answer; the server's last word is in `response`."""

    request: Any = None
    response: Any = None
    library: ClassVar[type[Exception] | None] = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled by what they are made of: the classes that `in_tree_of` makes stand in no module. The request and
        # the response, which hold locks and sockets, stay in their process.
        kind = type(self) if self.library is None else type(self).__bases__[0]
        evidence = {name: value for name, value in self.__dict__.items() if name not in ("request", "response")}
        return _restored, (kind, self.library, self.args, evidence)


class UnusableKey(ClientError):
    """The API key holds characters that cannot stand in a header; its text does not repeat the key."""


class BodyNotRewindable(ClientError):
    """The body is a generator, a pipe or the like, and a challenged request has to be sent twice."""


class HeadersDropped(ClientError):
    """A proxy or gateway on the way drops X-Api-Key, PoW-Solution or WWW-Authenticate: have it let them through."""


class ChallengeUnreadable(ClientError):
    """The server sent a challenge that is malformed, absurd, or of an unknown algorithm."""


class ChallengeExpired(ClientError):
    """The challenge had expired when it came: `seconds` before, by the server's clock or, without Date, by our own."""

    def __init__(self, seconds: float, *, by_own_clock: bool) -> None:
        whose = (
            "by this machine's clock, for the server sends no Date: set the clock"
            if by_own_clock
            else "by the server's own clock: its operator should look at it"
        )
        super().__init__(f"the challenge had expired {seconds:,.0f} s before it came, {whose}")
        self.seconds = seconds


class UnsolvableInTime(ClientError):
    """The challenge takes `expected_seconds` here and expires in `seconds_left`."""

    def __init__(self, expected_seconds: float, seconds_left: float) -> None:
        super().__init__(
            f"the challenge takes about {expected_seconds:,.1f} s here and expires in {seconds_left:,.1f} s: "
            "use more or faster cores (pip install 'calpow[fast]')"
        )
        self.expected_seconds = expected_seconds
        self.seconds_left = seconds_left


class WorkLimitExceeded(ClientError):
    """The answer would take more expected hashes in all than `limit` allows: `expected_hashes`.

    The text gives the reason for which the last solution was refused, if one was.
    """

    def __init__(self, expected_hashes: int, limit: int, refusal: str = "") -> None:
        super().__init__(
            f"the answer takes about {expected_hashes:,} hashes, more than the limit of {limit:,}: "
            f"raise the limit (max_hashes, --max-hashes) to do the work{_after(refusal)}"
        )
        self.expected_hashes = expected_hashes
        self.limit = limit


class TimeLimitExceeded(ClientError):
    """The work of one answer takes `expected_seconds` here, more than is left of `limit`.

    The text gives the reason for which the last solution was refused, if one was.
    """

    def __init__(self, expected_seconds: float, limit: float, refusal: str = "") -> None:
        super().__init__(
            f"the answer takes about {expected_seconds:,.1f} s of work here, more than the limit of {limit:,.1f} s: "
            f"allow more (max_seconds, --max-seconds), or use more or faster cores{_after(refusal)}"
        )
        self.expected_seconds = expected_seconds
        self.limit = limit


class Cancelled(ClientError):
    """The work or the waiting was ended by the event given as `cancel`."""


def _after(refusal: str) -> str:
    return f" (the last solution was refused: {refusal})" if refusal else ""


def in_tree_of(library: type[Exception], error: ClientError, *, request: Any, response: Any = None) -> ClientError:
    """The same error as one that `except library` catches too, with the library's own request and response."""
    return _restored(type(error), library, error.args, {**error.__dict__, "request": request, "response": response})


def _restored(
    kind: type[ClientError], library: type[Exception] | None, args: tuple[Any, ...], state: dict[str, Any]
) -> ClientError:
    made_of = kind if library is None else _both(kind, library)
    # Not by its own __init__, which each error and each library has another of.
    error = made_of.__new__(made_of)
    error.args = args
    error.__dict__.update(state)
    return error


_made: dict[tuple[type[ClientError], type[Exception]], type[ClientError]] = {}


def _both(kind: type[ClientError], library: type[Exception]) -> type[ClientError]:
    if (kind, library) not in _made:
        _made[kind, library] = type(kind.__name__, (kind, library), {"__doc__": kind.__doc__, "library": library})
    return _made[kind, library]
