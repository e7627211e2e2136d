"""Challenges as people keep them: the body of a 402, a WWW-Authenticate header, what `curl -i` or `curl -D` wrote."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, parse_headers
from io import BytesIO

from calpow.puzzle.challenge import Challenge
from calpow.puzzle.errors import CalpowError, MalformedChallenge

# RFC 9112, section 4; HTTP/2 and HTTP/3 as curl writes them. A body need not end its last line.
_STATUS_LINE = re.compile(rb"(?:\A|(?<=[\n}]))HTTP/\d(?:\.\d)? (\d{3})\b[^\r\n]*\r?\n")
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

        Raises NothingToSolve or PuzzleError.
        """
        statuses = list(_STATUS_LINE.finditer(data))
        if not statuses or statuses[0].start() > 0:
            return cls(Challenge.from_problem(data))
        last = statuses[-1]
        if last[1] != b"402":
            raise NothingToSolve(f"the last response has the status {last[1].decode()}, not 402: nothing to solve")
        return _in_response(data[last.end() :])

    def check_age(self, seconds: float, now: datetime) -> None:
        """Raise ChallengeTooOld if the challenge has expired.

        By the server's clock where that is known: the response was saved `seconds` ago; else by `now`.
        """
        expires = self.challenge.expires
        if self.sent is not None:
            late = (self.sent - expires) + timedelta(seconds=seconds)
            clock = "by the server's clock"
        else:
            late = now - expires
            clock = "by this machine's clock, which may be wrong"
        if late >= timedelta(0):
            when = expires.strftime("%Y-%m-%d %H:%M:%S UTC")
            raise ChallengeTooOld(f"the challenge expired at {when}, {clock}: ask for a new one")


def _in_response(data: bytes) -> Saved:
    stream = BytesIO(data)
    try:
        headers = parse_headers(stream)
    except HTTPException as error:
        raise MalformedChallenge(f"the response's headers cannot be read: {error}") from error
    sent = _date_in(headers)
    body = stream.read()
    if _holds_challenge(body):
        return Saved(Challenge.from_problem(body), sent)
    return Saved(Challenge.from_www_authenticate(", ".join(headers.get_all("WWW-Authenticate", []))), sent)


def _date_in(headers: HTTPMessage) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["Date"]).replace(tzinfo=timezone.utc)  # RFC 9110, section 5.6.7: GMT
    except (TypeError, ValueError):
        return None


def _holds_challenge(body: bytes) -> bool:
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "challenge" in document
