"""Challenges as people keep them: the body of a 402, a WWW-Authenticate header, what `curl -i` or `curl -D` wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPException, parse_headers
from io import BytesIO

from calpow.client.protocol.reply import Reply
from calpow.puzzle.errors import CalpowError, MalformedChallenge
from calpow.puzzle.wire import Challenge

# RFC 9112, section 4; HTTP/2 and HTTP/3 as curl writes them. A body need not end its last line. A line has a bound, so
# that a body of nothing but beginnings of such lines takes no minutes.
_STATUS_LINE = re.compile(rb"(?:\A|(?<=[\n}]))HTTP/\d(?:\.\d)? (\d{3})\b[^\r\n]{0,200}\r?\n")
_HEADER_NAME = re.compile(r"\s*WWW-Authenticate\s*:", re.IGNORECASE)


class NothingToSolve(CalpowError):
    """A saved response that is no challenge."""


class ChallengeTooOld(CalpowError):
    """A saved challenge that the server would not take any more."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A challenge, and the server's time when it sent it, where that is known."""

    challenge: Challenge
    sent: datetime | None = None

    @classmethod
    def from_header(cls, text: str) -> Saved:
        """Read the value of a WWW-Authenticate header, or its whole line. Raises PuzzleError."""
        return cls(Challenge.from_www_authenticate(_HEADER_NAME.sub("", text, count=1)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Saved:
        """Read the body of a 402, or a dump of HTTP responses, of which the last counts.

        Raises NothingToSolve, ChallengeUnreadable or PuzzleError.
        """
        statuses = list(_STATUS_LINE.finditer(data))
        if not statuses or statuses[0].start() > 0:
            return cls(Challenge.from_problem(data))
        last = statuses[-1]
        if last[1] != b"402":
            raise NothingToSolve(f"the last response has the status {last[1].decode()}, not 402: nothing to solve")
        return _in_response(data[last.end() :])

    def seconds_left(self, age: float, now: datetime) -> float:
        """How long the server will still take a solution.

        By the server's clock where that is known: the response was saved `age` seconds ago; else by `now`. Raises
        ChallengeTooOld if it will not.
        """
        expires = self.challenge.expires
        if self.sent is not None:
            left = (expires - self.sent) - timedelta(seconds=age)
            clock = "by the server's clock"
        else:
            left = expires - now
            clock = "by this machine's clock, which may be wrong"
        if left <= timedelta(0):
            when = expires.strftime("%Y-%m-%d %H:%M:%S UTC")
            raise ChallengeTooOld(f"the challenge expired at {when}, {clock}: ask for a new one")
        return left.total_seconds()


def _in_response(data: bytes) -> Saved:
    stream = BytesIO(data)
    try:
        headers = parse_headers(stream)
    except HTTPException as error:
        raise MalformedChallenge(f"the response's headers cannot be read: {error}") from error
    names = {name.lower() for name in headers}
    reply = Reply(402, {name: ", ".join(headers.get_all(name, [])) for name in names}, stream.read())
    challenge = reply.challenge
    if challenge is None:
        raise NothingToSolve("the last response holds no challenge: save it whole, with curl -i")
    return Saved(challenge, reply.date)
