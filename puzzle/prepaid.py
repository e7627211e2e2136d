"""Prepaid stamps: the non-interactive mode, in which a client mints before it asks (DESIGN: one round trip).

They are bound to a deployment's realm and to who pays, not to a payload; freshness and single use bound any hoard.
"""

from __future__ import annotations

import calendar
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from calpow.puzzle.algorithms import digest_of
from calpow.puzzle.errors import MalformedStamp, StaleStamp, WrongStamp
from calpow.puzzle.profiles import Kind
from calpow.puzzle.stamp import Stamp, leading_zero_bits

FRESH_SECONDS = 600
# How far a client's clock may be ahead of the server's.
AHEAD_SECONDS = 60
_DATE_LENGTH = len("YYMMDDhhmmss")


@dataclass(frozen=True, slots=True)
class PrepaidWork:
    """Verified stamps: their digests (hexadecimal), their work in expected hashes, and when the first goes stale."""

    ids: tuple[str, ...]
    hashes: int
    stale_at: float


def prepaid_resource(realm: str, identity: str) -> str:
    """What prepaid stamps are minted for: the realm, and 16 hex digits of the SHA-256 of the identity header."""
    return f"{realm}/{hashlib.sha256(identity.encode('utf-8')).hexdigest()[:16]}"


def check_prepaid(stamps: Sequence[str], kind: Kind, resource: str, now: float) -> PrepaidWork:
    """Verify stamps minted beforehand; `now` in seconds since the epoch. The cheap checks come first.

    A stamp's work is 2^bits, by the bits, at least 1, that it claims and has. Whether one was spent before is the
    ledger's to say. Raises MalformedStamp, StaleStamp, or WrongStamp (another resource, too little work, one stamp
    twice, and more stamps than a puzzle of this kind has where a digest is dear).
    """
    if kind.cost is not None and len(stamps) > kind.most_stamps:
        raise WrongStamp(f"{len(stamps)} prepaid stamps of {kind.algorithm}: mint at most {kind.most_stamps}")
    read = [Stamp.parse(text) for text in stamps]
    if len({stamp.text for stamp in read}) < len(read):
        raise WrongStamp("a stamp is there twice: mint as many as are needed")
    made = [_check_fields(stamp, resource, now) for stamp in read]
    ids = []
    digest_stamp = digest_of(kind.algorithm, kind.cost)
    for stamp in read:
        digest = digest_stamp(stamp.text.encode("ascii"))
        if leading_zero_bits(digest) < stamp.bits:
            raise WrongStamp(f"a stamp claims {stamp.bits} bits and does not have them")
        ids.append(digest.hex())
    return PrepaidWork(tuple(ids), sum(1 << stamp.bits for stamp in read), min(made) + FRESH_SECONDS)


def _check_fields(stamp: Stamp, resource: str, now: float) -> float:
    """When the stamp was minted."""
    if stamp.resource != resource:
        raise WrongStamp(f"prepaid stamps are for another resource: mint them for {resource}")
    if stamp.bits < 1:
        raise WrongStamp("a prepaid stamp of 0 bits is no work: mint stamps of 1 bit or more")
    try:
        made = _minted_at(stamp.date)
    except ValueError:
        raise MalformedStamp(f"a prepaid stamp is dated to the second, YYMMDDhhmmss, not {stamp.date}") from None
    if not now - FRESH_SECONDS < made <= now + AHEAD_SECONDS:
        raise StaleStamp(f"a prepaid stamp is good for {FRESH_SECONDS // 60} minutes: mint new ones, by a right clock")
    return float(made)


# The stamps of one puzzle bear one date or two, and strptime takes longer than all else that is checked of a stamp.
@lru_cache(maxsize=64)
def _minted_at(date: str) -> int:
    if len(date) != _DATE_LENGTH:  # strptime would read one digit for two
        raise ValueError(date)
    return calendar.timegm(time.strptime(date, "%y%m%d%H%M%S"))
