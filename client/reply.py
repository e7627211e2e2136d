"""The parts of a response that the protocol reads, independent of the HTTP library."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cached_property

from calpow.client.errors import ChallengeUnreadable
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.wire import NEXT_HEADER, PREPAID, SUBJECT_HEADER, Challenge, find_realm, find_token

_URN = "urn:calpow:problem:"
# The bodies of other responses are left to the caller, who may want to stream them.
_STATUSES_WITH_BODY = (401, 402)
_MAX_DIGITS = 18
_SUBJECT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_REASON_LENGTH = 300
_YEARS = range(2000, 2100)  # a stamp's date has two digits for the year


@dataclass(frozen=True)
class Reply:
    """A response to a request.

    headers: by their names in lower case.
    body: decoded; empty where `needs_body` is false.
    solution: the PoW-Solution that the request bore when it arrived; None also if a redirect left it behind.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    phrase: str = ""
    solution: str | None = None

    @property
    def was_prepaid(self) -> bool:
        """Whether the request was sent with prepaid stamps."""
        return self.solution is not None and self.solution.startswith(f"{PREPAID} ")

    @cached_property
    def problem(self) -> str | None:
        """The name of a problem of this protocol, such as `pow-required`; None if the reply states another or none."""
        kind = self._document.get("type")
        return kind.removeprefix(_URN) if isinstance(kind, str) and kind.startswith(_URN) else None

    @cached_property
    def reason(self) -> str:
        """The reason that the reply gives for not being an answer, as one printable line."""
        return _reason(self._document, self.phrase)

    @cached_property
    def challenge(self) -> Challenge | None:
        """The challenge in the body of a 402 or, failing that, in its header. Raises ChallengeUnreadable."""
        if self.status != 402:
            return None
        token = find_token(self._www_authenticate)
        try:
            if "challenge" in self._document:
                return Challenge.from_problem(self.body)
            return None if token is None else Challenge.from_token(token)
        except PuzzleError as error:
            raise ChallengeUnreadable(str(error)) from error

    @cached_property
    def realm(self) -> str | None:
        """The realm that prepaid stamps are minted for."""
        return find_realm(self._www_authenticate)

    @cached_property
    def next_hashes(self) -> int | None:
        """The expected hashes of the next answer, as the server announces them."""
        return _parse_number(self.headers.get(NEXT_HEADER.lower(), ""))

    @cached_property
    def subject(self) -> str | None:
        """The name that prepaid stamps have to bear; None where they name the key."""
        subject = self.headers.get(SUBJECT_HEADER.lower(), "")
        return subject if _SUBJECT.fullmatch(subject) else None

    @cached_property
    def date(self) -> datetime | None:
        """The time of the reply by the server's clock (RFC 9110, section 6.6.1); None if absent or absurd."""
        moment = _parse_date(self.headers.get("date", ""))
        return moment if moment is not None and moment.year in _YEARS else None

    def retry_after(self, now: datetime) -> float | None:
        """Return the seconds to wait before asking again (RFC 9110, section 10.2.3), None if there are none.

        `now` is used where the reply has no Date.
        """
        text = self.headers.get("retry-after", "").strip()
        seconds = _parse_number(text)
        if seconds is not None:
            return float(seconds)
        moment = _parse_date(text)
        return None if moment is None else max(0.0, (moment - (self.date or now)).total_seconds())

    @cached_property
    def _document(self) -> Mapping[str, object]:
        return _json_object(self.body)

    @property
    def _www_authenticate(self) -> str:
        return self.headers.get("www-authenticate", "")


def needs_body(status: int) -> bool:
    """Return whether the protocol reads the body of a response with this status."""
    return status in _STATUSES_WITH_BODY


def reason_of(body: bytes, phrase: str) -> str:
    """Return the reason that a response gives, as one printable line.

    That is the `detail` of an RFC 9457 problem, the `message` of TorchServe's own error documents, the `title`, or
    `phrase`, the reason phrase of the status.
    """
    return _reason(_json_object(body), phrase)


def one_line(text: str) -> str:
    """Fold white space, and replace characters that a terminal should not be sent."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def _reason(document: Mapping[str, object], phrase: str) -> str:
    for name in ("detail", "message", "title"):
        text = document.get(name)
        if isinstance(text, str) and text.strip():
            line = one_line(text)
            return line if len(line) <= _MAX_REASON_LENGTH else line[:_MAX_REASON_LENGTH] + "..."
    return one_line(phrase or "no reason given")


def _json_object(body: bytes) -> Mapping[str, object]:
    """Return the JSON object in a body, empty if there is none."""
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _parse_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else None


def _parse_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        # "-0000" is UTC at an unnamed place, for which Python gives no time zone at all.
        return (moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment).astimezone(timezone.utc)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
