"""Prepaid stamps: a client mints them before any challenge, and so has its answer in one round trip.

They are bound to the realm of a deployment and to the account that pays, not to a payload. Because they stay fresh for
ten minutes only and can be spent once, a client cannot hoard them. See docs/decisions/0030.
"""

from __future__ import annotations

import calendar
import hashlib
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from calpow.puzzle.errors import MalformedStamp, WrongStamp
from calpow.puzzle.profiles import PuzzleKind
from calpow.puzzle.stamp import Stamp

FRESH_SECONDS = 600
# A client's clock may be ahead of the server's by this much.
AHEAD_SECONDS = 60
_DATE_LENGTH = len("YYMMDDhhmmss")


class PrepaidStamps(NamedTuple):
    """Prepaid stamps whose fields were checked; their digests were not.

    ids: the ids of the stamps in the ledger, see `stamp_id`.
    hashes: the work that the stamps claim, in expected hashes.
    oldest, youngest: the time when the first and the last stamp were minted, in seconds since the epoch.
    """

    stamps: tuple[Stamp, ...]
    ids: tuple[str, ...]
    hashes: int
    oldest: int
    youngest: int

    @property
    def stale_at(self) -> int:
        """The time when the oldest stamp goes stale, in seconds since the epoch."""
        return self.oldest + FRESH_SECONDS

    def is_fresh(self, now: float) -> bool:
        """Return whether all stamps were minted in the last FRESH_SECONDS, by clocks at most AHEAD_SECONDS ahead."""
        return now < self.stale_at and self.youngest <= now + AHEAD_SECONDS


def prepaid_resource(realm: str, identity: str) -> str:
    """Return the resource of prepaid stamps: REALM/ and 16 hex digits of the SHA-256 of the identity header's value."""
    return f"{realm}/{hashlib.sha256(identity.encode('utf-8')).hexdigest()[:16]}"


def subject_resource(realm: str, subject: str) -> str:
    """Return the resource of prepaid stamps for an account that the server calls `subject`, in PoW-Subject."""
    return f"{realm}/{subject}"


def read_prepaid(stamps: Sequence[str], kind: PuzzleKind, resource: str) -> PrepaidStamps:
    """Parse prepaid stamps and check everything but their digests and their freshness.

    A stamp that claims `bits` bits, at least 1, counts as 2^bits hashes. `PrepaidStamps.is_fresh` checks freshness; the
    ledger knows which stamps were spent. Raises MalformedStamp, or WrongStamp for another resource, a repeated stamp,
    or more stamps of scrypt than a puzzle of this kind has.
    """
    if kind.cost is not None and len(stamps) > kind.most_stamps:
        raise WrongStamp(f"{len(stamps)} prepaid stamps of {kind.algorithm}: mint at most {kind.most_stamps}", "count")
    if len(set(stamps)) < len(stamps):
        raise WrongStamp("a stamp is there twice: mint as many as are needed", "repeated")
    parsed = tuple([Stamp.parse(text) for text in stamps])
    times = [_check_fields(stamp, resource) for stamp in parsed]
    ids = tuple([stamp_id(text) for text in stamps])
    return PrepaidStamps(parsed, ids, sum([1 << stamp.bits for stamp in parsed]), min(times), max(times))


def stamp_id(text: str) -> str:
    """Return the id of a prepaid stamp in the ledger: the SHA-256 of its text in base64url without padding."""
    return urlsafe_b64encode(hashlib.sha256(text.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def _check_fields(stamp: Stamp, resource: str) -> int:
    """Check resource, bits and date; return the time when the stamp was minted, in seconds since the epoch."""
    if stamp.resource != resource:
        raise WrongStamp(f"prepaid stamps are for another resource: mint them for {resource}", "resource")
    if stamp.bits < 1:
        raise WrongStamp("a prepaid stamp of 0 bits is no work: mint stamps of 1 bit or more", "bits")
    try:
        return _parse_date(stamp.date)
    except ValueError:
        raise MalformedStamp(f"a prepaid stamp is dated to the second, YYMMDDhhmmss, not {stamp.date}") from None


# Stamps that were minted together have one date or two, and strptime takes longer than all other checks of a stamp.
@lru_cache(maxsize=64)
def _parse_date(date: str) -> int:
    if len(date) != _DATE_LENGTH:  # strptime accepts one digit instead of two
        raise ValueError(date)
    return calendar.timegm(time.strptime(date, "%y%m%d%H%M%S"))
