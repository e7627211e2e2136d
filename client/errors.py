"""The errors of the client.

CalpowError
├── ClientError              .request and .response are those of the HTTP library, or None
│   ├── UnusableKey          the key or token cannot be sent in a header
│   ├── BodyNotRewindable    the body can be sent only once; nothing was sent
│   ├── HeadersDropped       something between client and server drops the headers of this protocol
│   ├── ChallengeUnreadable  this version cannot solve the challenge of a 402
│   ├── ChallengeExpired     the challenge had expired when it arrived; nothing was solved for it
│   ├── UnsolvableInTime     the challenge expires before it can be solved here
│   ├── WorkLimitExceeded    the server asks for more work than is allowed; nothing was solved for it
│   ├── TimeLimitExceeded    the work takes more seconds than are allowed
│   ├── RequestRefused       the server refuses the request (gRPC only: responses of HTTP are returned)
│   ├── AnswerUnreadable     an answer is not what the program was told to read
│   └── Cancelled            the caller ended the work or the waiting
└── CommandError             a command of `calpow` cannot do its work
    ├── PackageMissing       a package that the command needs is not installed
    ├── ModuleMissing        a module that is none of calpow's requirements is not installed
    ├── TokenFileUnusable    the file of --token-file cannot be read
    ├── FolderGiven          a folder was given where a file is needed
    ├── OutputUnusable       the output is written by another process, or is not a file of results
    ├── NothingToSolve       a saved response contains no challenge
    ├── ChallengeTooOld      a saved challenge has expired
    └── MeasurementFailed    a program that was to be timed does not do what it should

The PowAuth of requests raises a ClientError as requests.RequestException as well, that of httpx as httpx.RequestError:
`except WorkLimitExceeded`, `except ClientError` and the library's own root all catch them. So do the errors of
PowInterceptor with grpc.RpcError.
"""

from __future__ import annotations

from typing import Any, ClassVar

from calpow.puzzle.errors import CalpowError
from calpow.puzzle.installation import install_command


class ClientError(CalpowError):
    """PowAuth could not obtain an answer.

    request, response: the HTTP library's own, where they exist; the response is the server's last one.
    library_error: the root of the library's errors that this class belongs to as well, if any.
    """

    request: Any = None
    response: Any = None
    library_error: ClassVar[type[Exception] | None] = None

    def __reduce__(self) -> tuple[Any, ...]:
        # A class that `_joint_class` created is in no module, so pickle gets its two bases. The request and the
        # response hold locks and sockets, which stay in their process.
        kind = type(self) if self.library_error is None else type(self).__bases__[0]
        attributes = {name: value for name, value in vars(self).items() if name not in ("request", "response")}
        return _build, (kind, self.library_error, self.args, attributes)


class UnusableKey(ClientError):
    """The API key or token cannot be sent in a header, or both were given. The message does not repeat them."""


class BodyNotRewindable(ClientError):
    """The body is a generator or a pipe, for example, and a challenged request has to be sent twice."""


class HeadersDropped(ClientError):
    """A proxy or gateway drops X-Api-Key, PoW-Identity, PoW-Solution or WWW-Authenticate.

    It must be configured to keep them.
    """


class ChallengeUnreadable(ClientError):
    """The challenge is malformed, absurd, or of an unknown algorithm."""


class ChallengeExpired(ClientError):
    """The challenge had expired when it arrived.

    seconds: the time between its expiry and its arrival.
    by_own_clock: whether that is by the clock of this machine, since the server sends no Date.
    """

    def __init__(self, seconds: float, *, by_own_clock: bool) -> None:
        clock = (
            "by this machine's clock, for the server sends no Date: set the clock"
            if by_own_clock
            else "by the server's own clock: its operator should look at it"
        )
        super().__init__(f"the challenge had expired {seconds:,.0f} s before it came, {clock}")
        self.seconds = seconds
        self.by_own_clock = by_own_clock


class UnsolvableInTime(ClientError):
    """Solving the challenge takes about `expected_seconds` here, but it expires in `seconds_left`."""

    def __init__(self, expected_seconds: float, seconds_left: float) -> None:
        super().__init__(
            f"the challenge takes about {expected_seconds:,.1f} s here and expires in {seconds_left:,.1f} s: "
            f"use more or faster cores ({install_command('fast')})"
        )
        self.expected_seconds = expected_seconds
        self.seconds_left = seconds_left


class WorkLimitExceeded(ClientError):
    """The answer takes `expected_hashes` in all, which is more than `limit`.

    refusal: the reason for which the last solution was refused; empty if none was.
    """

    def __init__(self, expected_hashes: int, limit: int, refusal: str = "") -> None:
        super().__init__(
            f"the answer takes about {expected_hashes:,} hashes, more than the limit of {limit:,}: "
            f"raise the limit (max_hashes, --max-hashes) to do the work{_after(refusal)}"
        )
        self.expected_hashes = expected_hashes
        self.limit = limit
        self.refusal = refusal


class TimeLimitExceeded(ClientError):
    """The work for one answer takes about `expected_seconds` here, which is more than is left of `limit`.

    refusal: the reason for which the last solution was refused; empty if none was.
    """

    def __init__(self, expected_seconds: float, limit: float, refusal: str = "") -> None:
        super().__init__(
            f"the answer takes about {expected_seconds:,.1f} s of work here, more than the limit of {limit:,.1f} s: "
            f"allow more (max_seconds, --max-seconds), or use more or faster cores{_after(refusal)}"
        )
        self.expected_seconds = expected_seconds
        self.limit = limit
        self.refusal = refusal


class RequestRefused(ClientError):
    """The server refuses the request for a reason that no work changes. Over gRPC, which has no responses for that.

    status: as HTTP has it, for example 401 for an unknown key.
    problem: the name of a problem of this protocol, such as `identity-unknown`; None if the server states none.
    """

    def __init__(self, status: int, problem: str | None, reason: str) -> None:
        super().__init__(f"{status}{'' if problem is None else f' {problem}'}: {reason}")
        self.status = status
        self.problem = problem


class AnswerUnreadable(ClientError):
    """An answer is not what the program was told to read."""


class Cancelled(ClientError):
    """The work or the waiting was ended by the event that was given as `cancel`."""


class CommandError(CalpowError):
    """A command of `calpow` cannot do its work."""


class PackageMissing(CommandError):
    """The command needs a package of one of calpow's extras that is not installed: `package`."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this command needs {package}: {install_command(extra)}")
        self.package = package


class ModuleMissing(CommandError):
    """Code that the command runs needs a module that is not installed, and that calpow does not require: `module`."""

    def __init__(self, module: str) -> None:
        super().__init__(f"the module {module} is not installed here: pip install what brings it")
        self.module = module


class TokenFileUnusable(CommandError):
    """The file that holds the token cannot be read."""


class FolderGiven(CommandError):
    """A folder was given where a file is needed."""


class OutputUnusable(CommandError):
    """The output is being written by another process, or is not a file of results."""


class NothingToSolve(CommandError):
    """A saved response contains no challenge."""


class ChallengeTooOld(CommandError):
    """A saved challenge has expired."""


class MeasurementFailed(CommandError):
    """A program that was to be timed does not do what it should."""


def _after(refusal: str) -> str:
    return f" (the last solution was refused: {refusal})" if refusal else ""


def as_library_error(
    error: ClientError, library_error: type[Exception], *, request: Any = None, response: Any = None
) -> ClientError:
    """Return the same error as one that `except library_error` catches, too, with a request and a response."""
    return _build(type(error), library_error, error.args, {**vars(error), "request": request, "response": response})


def _build(
    kind: type[ClientError],
    library_error: type[Exception] | None,
    args: tuple[Any, ...],
    attributes: dict[str, Any],
) -> ClientError:
    error_class = kind if library_error is None else _joint_class(kind, library_error)
    # __init__ is not called: its parameters differ from class to class, and from library to library.
    error = error_class.__new__(error_class)
    error.args = args
    vars(error).update(attributes)
    return error


_joint_classes: dict[tuple[type[ClientError], type[Exception]], type[ClientError]] = {}


def _joint_class(kind: type[ClientError], library_error: type[Exception]) -> type[ClientError]:
    """Return the subclass of both classes, with the name of the first."""
    if (kind, library_error) not in _joint_classes:
        members = {"__doc__": kind.__doc__, "library_error": library_error}
        _joint_classes[kind, library_error] = type(kind.__name__, (kind, library_error), members)
    return _joint_classes[kind, library_error]
