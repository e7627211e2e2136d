"""Prepaid stamps: the non-interactive mode, in which a client mints before it asks (DESIGN: one round trip).

They are bound to a deployment's realm and to the account that pays, not to a payload; freshness and single use bound
any hoard.
"""

from __future__ import annotations

import calendar
import hashlib
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from calpow.puzzle.errors import MalformedStamp, WrongStamp
from calpow.puzzle.profiles import Kind
from calpow.puzzle.stamp import Stamp

FRESH_SECONDS = 600
# How far a client's clock may be ahead of the server's.
AHEAD_SECONDS = 60
_DATE_LENGTH = len("YYMMDDhhmmss")


@dataclass(frozen=True, slots=True)
class PrepaidStamps:
    """Prepaid stamps whose fields are right; their digests are not taken yet.

    ids: the SHA-256 of each stamp's text, base64url without padding.
    hashes: the work they claim, in expected hashes.
    oldest, youngest: when the first and the last of them were minted, in seconds since the epoch.
    """

    stamps: tuple[Stamp, ...]
    ids: tuple[str, ...]
    hashes: int
    oldest: int
    youngest: int

    @property
    def stale_at(self) -> int:
        """When the first of them goes stale, in seconds since the epoch."""
        return self.oldest + FRESH_SECONDS

    def is_fresh(self, now: float) -> bool:
        """Whether all of them were minted in the last FRESH_SECONDS, by a clock that may be AHEAD_SECONDS ahead."""
        return now < self.stale_at and self.youngest <= now + AHEAD_SECONDS


def prepaid_resource(realm: str, identity: str) -> str:
    """What prepaid stamps are minted for: the realm, and 16 hex digits of the SHA-256 of the identity header."""
    return f"{realm}/{hashlib.sha256(identity.encode('utf-8')).hexdigest()[:16]}"


def read_prepaid(stamps: Sequence[str], kind: Kind, resource: str) -> PrepaidStamps:
    """Read stamps that were minted beforehand, without a digest.

    A stamp's work is 2^bits, by the bits, at least 1, that it claims. Whether they are fresh is asked of the result,
    whether one was spent before is the ledger's to say. Raises MalformedStamp, or WrongStamp (another resource, one
    stamp twice, and more stamps than a puzzle of this kind has where a digest is dear).
    """
    if kind.cost is not None and len(stamps) > kind.most_stamps:
        raise WrongStamp(f"{len(stamps)} prepaid stamps of {kind.algorithm}: mint at most {kind.most_stamps}")
    if len(set(stamps)) < len(stamps):
        raise WrongStamp("a stamp is there twice: mint as many as are needed")
    read = tuple(Stamp.parse(text) for text in stamps)
    minted = [_check_fields(stamp, resource) for stamp in read]
    ids = tuple(stamp_id(text) for text in stamps)
    return PrepaidStamps(read, ids, sum(1 << stamp.bits for stamp in read), min(minted), max(minted))


def stamp_id(text: str) -> str:
    """The id under which a ledger remembers a prepaid stamp: the SHA-256 of its text, base64url without padding."""
    return urlsafe_b64encode(hashlib.sha256(text.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def _check_fields(stamp: Stamp, resource: str) -> int:
    """Return when the stamp was minted, in seconds since the epoch."""
    if stamp.resource != resource:
        raise WrongStamp(f"prepaid stamps are for another resource: mint them for {resource}")
    if stamp.bits < 1:
        raise WrongStamp("a prepaid stamp of 0 bits is no work: mint stamps of 1 bit or more")
    try:
        return _minted_at(stamp.date)
    except ValueError:
        raise MalformedStamp(f"a prepaid stamp is dated to the second, YYMMDDhhmmss, not {stamp.date}") from None


# The stamps of one puzzle bear one date or two, and strptime takes longer than all else that is checked of a stamp.
@lru_cache(maxsize=64)
def _minted_at(date: str) -> int:
    if len(date) != _DATE_LENGTH:  # strptime would read one digit for two
        raise ValueError(date)
    return calendar.timegm(time.strptime(date, "%y%m%d%H%M%S"))
