"""HashCash version 1 stamps: `1:bits:date:resource:ext:rand:counter` (hashcash(1), "stamp format")."""

from __future__ import annotations

import re
from dataclasses import dataclass

from calpow.puzzle.errors import MalformedStamp

# The program `hashcash` pads the counter of a stamp to fill a block of SHA-1, so honest stamps reach 183
# characters with a long resource.
MAX_STAMP_LENGTH = 256

_FORM = re.compile(
    r"1"
    r":(?P<bits>0|[1-9][0-9]{0,2})"
    r":(?P<date>[0-9]{6}(?:[0-9]{4}(?:[0-9]{2})?)?)"
    r":(?P<resource>[!-9;-~]+)"
    r":(?P<ext>[!-9;-~]*)"
    r":(?P<rand>[A-Za-z0-9+/=]+)"
    r":(?P<counter>[A-Za-z0-9+/=]+)"
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The fields of a stamp, and the text its digest is taken over.

    `bits` is what the stamp claims, not what it has; `date` is YYMMDD[hhmm[ss]] in UTC, digits unchecked.
    """

    bits: int
    date: str
    resource: str
    ext: str
    rand: str
    counter: str
    text: str

    @classmethod
    def parse(cls, text: str) -> Stamp:
        """Read a stamp strictly: printable ASCII, version 1, seven fields, their alphabets, a bounded length.

        Raises MalformedStamp. Says nothing about the work in the stamp.
        """
        if len(text) > MAX_STAMP_LENGTH:
            raise MalformedStamp(f"a stamp of {len(text)} characters: at most {MAX_STAMP_LENGTH} are read")
        match = _FORM.fullmatch(text)
        if match is None:
            raise MalformedStamp(f"{text[:80]!a} is not a stamp 1:bits:date:resource:ext:rand:counter")
        bits, date, resource, ext, rand, counter = match.groups()
        return cls(int(bits), date, resource, ext, rand, counter, text)


def leading_zero_bits(digest: bytes) -> int:
    """Count the zero bits before the first one bit; all of them if there is none."""
    return 8 * len(digest) - int.from_bytes(digest, "big").bit_length()
