"""HashCash version 1 stamps, `1:bits:date:resource:ext:rand:counter`, and the work in a digest.

The format is that of the program `hashcash`: hashcash(1), section "Stamp format".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from calpow.puzzle.errors import MalformedStamp

# The program `hashcash` pads the counter so that a stamp fills its last block of SHA-1: with a long resource, honest
# stamps have up to 183 characters.
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


class Stamp(NamedTuple):
    """The fields of a stamp, and its text, which is what is hashed.

    `bits` is the number of leading zero bits that the stamp claims; only its digest shows whether it has them. `date`
    is YYMMDD[hhmm[ss]] in UTC; its digits are not checked to be a date.
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
        """Parse a stamp: version 1, seven fields of printable ASCII, at most MAX_STAMP_LENGTH characters.

        Does not check the work in the stamp. Raises MalformedStamp.
        """
        if len(text) > MAX_STAMP_LENGTH:
            raise MalformedStamp(f"a stamp of {len(text)} characters: at most {MAX_STAMP_LENGTH} are read")
        match = _FORM.fullmatch(text)
        if match is None:
            raise MalformedStamp(f"{text[:80]!a} is not a stamp 1:bits:date:resource:ext:rand:counter")
        bits, date, resource, ext, rand, counter = match.groups()
        return cls(int(bits), date, resource, ext, rand, counter, text)


def leading_zero_bits(digest: bytes) -> int:
    """Return the number of zero bits before the first one bit, or of all bits if every one is zero."""
    return 8 * len(digest) - int.from_bytes(digest, "big").bit_length()
