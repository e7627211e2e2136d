"""Saved challenges: the body of a 402, a WWW-Authenticate header, or what `curl -i` or `curl -D` wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPException, parse_headers
from io import BytesIO

from calpow.client.errors import ChallengeTooOld, NothingToSolve
from calpow.client.reply import Reply
from calpow.puzzle.errors import MalformedChallenge
from calpow.puzzle.wire import Challenge

# RFC 9112, section 4; HTTP/2 and HTTP/3 as curl writes them. A body need not end its last line. The length of a line is
# bounded, so that a body of nothing but beginnings of such lines does not take minutes.
_STATUS_LINE = re.compile(rb"(?:\A|(?<=[\n}]))HTTP/\d(?:\.\d)? (\d{3})\b[^\r\n]{0,200}\r?\n")
_HEADER_NAME = re.compile(r"\s*WWW-Authenticate\s*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SavedChallenge:
    """A challenge, and the server's time when it sent it, if the saved response has a Date."""

    challenge: Challenge
    sent: datetime | None = None

    @classmethod
    def from_header(cls, text: str) -> SavedChallenge:
        """Read the value of a WWW-Authenticate header, or the whole header line. Raises PuzzleError."""
        return cls(Challenge.from_www_authenticate(_HEADER_NAME.sub("", text, count=1)))

    @classmethod
    def from_bytes(cls, data: bytes) -> SavedChallenge:
        """Read the body of a 402, or the last of the HTTP responses in a dump.

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
        """Return for how many seconds the server will still accept a solution.

        By the server's clock if its Date is known: the response was saved `age` seconds ago. Otherwise by `now`.
        Raises ChallengeTooOld when the challenge has expired.
        """
        expires = self.challenge.expires
        if self.sent is not None:
            left = (expires - self.sent) - timedelta(seconds=age)
            clock = "by the server's clock"
        else:
            left = expires - now
            clock = "by this machine's clock, which may be wrong"
        if left <= timedelta(0):
            time = expires.strftime("%Y-%m-%d %H:%M:%S UTC")
            raise ChallengeTooOld(f"the challenge expired at {time}, {clock}: ask for a new one")
        return left.total_seconds()


def _in_response(data: bytes) -> SavedChallenge:
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
    return SavedChallenge(challenge, reply.date)
