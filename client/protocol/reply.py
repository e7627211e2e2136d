"""What the protocol reads in a response, whichever library brought it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from calpow.client.errors import ChallengeUnreadable
from calpow.client.protocol.problems import problem_of, reason_of
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.wire import NEXT_HEADER, Challenge, find_realm, find_token

_URN = "urn:calpow:problem:"
# Of other responses the body is the caller's, who may want to stream it.
_STATUSES_TO_READ = (401, 402)
_LONGEST_NUMBER = 18
_YEARS = range(2000, 2100)  # which a stamp's date of two digits can tell


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: `headers` by their names in lower case; `body` decoded, and empty where `reads_body` is false."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    phrase: str = ""

    @property
    def problem(self) -> str | None:
        """The name of the problem of ours it states, such as `pow-required`; None if it is another server's word."""
        kind = problem_of(self.body).get("type")
        return kind.removeprefix(_URN) if isinstance(kind, str) and kind.startswith(_URN) else None

    @property
    def reason(self) -> str:
        """Why it is no answer, as one printable line."""
        return reason_of(self.body, self.phrase)

    @property
    def challenge(self) -> Challenge | None:
        """The challenge in the body of a 402 or, failing that, in its header. Raises ChallengeUnreadable."""
        if self.status != 402:
            return None
        token = find_token(self._offer)
        try:
            if "challenge" in problem_of(self.body):
                return Challenge.from_problem(self.body)
            return None if token is None else Challenge.from_token(token)
        except PuzzleError as error:
            raise ChallengeUnreadable(str(error)) from error

    @property
    def realm(self) -> str | None:
        """The realm that prepaid stamps are minted for."""
        return find_realm(self._offer)

    @property
    def next_hashes(self) -> int | None:
        """What the server says the next answer takes."""
        return _number(self.headers.get(NEXT_HEADER.lower(), ""))

    @property
    def date(self) -> datetime | None:
        """When the server says it wrote this (RFC 9110, section 6.6.1); None where that is out of all reason."""
        moment = _http_date(self.headers.get("date", ""))
        return moment if moment is not None and moment.year in _YEARS else None

    def retry_after(self, now: datetime) -> float | None:
        """Seconds to wait before asking again (RFC 9110, section 10.2.3); `now` is used where there is no Date."""
        text = self.headers.get("retry-after", "").strip()
        seconds = _number(text)
        if seconds is not None:
            return float(seconds)
        moment = _http_date(text)
        return None if moment is None else max(0.0, (moment - (self.date or now)).total_seconds())

    @property
    def _offer(self) -> str:
        return self.headers.get("www-authenticate", "")


def reads_body(status: int) -> bool:
    """Whether the protocol needs the body of a response with this status."""
    return status in _STATUSES_TO_READ


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER else None


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        # "-0000" says UTC and leaves the place open, which Python takes for no time zone at all.
        return (moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment).astimezone(timezone.utc)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
