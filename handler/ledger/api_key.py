"""API keys, `cp_<id>_<secret>`, the names of their accounts, and the groups that accounts belong to."""

import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass
from hashlib import sha256

from calpow.handler.errors import LedgerError

_FORM = re.compile(r"cp_([0-9a-f]{8})_[0-9a-f]{48}", re.ASCII)
_LONGEST_ACCOUNT = 128
# What Python holds for printable, and no font shows: Unicode's property Default_Ignorable_Code_Point, and the empty
# pattern of Braille.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in clear. A ledger keeps only its `digest`: 192 random bits need no slow hash."""

    id: str
    text: str

    @classmethod
    def generate(cls) -> "ApiKey":
        """Return a random key."""
        name = secrets.token_hex(4)
        return cls(name, f"cp_{name}_{secrets.token_hex(24)}")

    @classmethod
    def read(cls, text: str) -> "ApiKey | None":
        """Return the key that a text states, or None when the text does not have the form of a key."""
        match = _FORM.fullmatch(text)
        return cls(match[1], text) if match else None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole key."""
        return sha256(self.text.encode("ascii")).digest()

    def matches(self, digest: bytes) -> bool:
        """Return whether this is the key of a digest, in constant time."""
        return hmac.compare_digest(self.digest, digest)


def group_of(name: str) -> str | None:
    """Return the name of an account's group: the part of `TENANT/USER` before the first slash, or None.

    The group is itself an account, of that name. A name without a tenant or without a user has no group.
    """
    if "/" not in name:
        return None
    tenant, _, user = name.partition("/")
    return tenant if user and tenant and not tenant[-1].isspace() else None


def normal_name(name: str) -> str:
    """Return a name in the form in which accounts are named, Unicode's NFC: `é` is one character, however it came."""
    return unicodedata.normalize("NFC", name)


def check_account(name: str) -> None:
    """Raise LedgerError unless the name is printable text of one line, without space at its ends."""
    size = len(name.encode("utf-8", "replace"))
    if not 1 <= size <= _LONGEST_ACCOUNT or name != name.strip() or not name.isprintable():
        raise LedgerError(
            f"an account's name must have 1 to {_LONGEST_ACCOUNT} bytes of printable text, and no space at its ends"
        )


def check_new_account(name: str) -> None:
    """Raise LedgerError unless an account can be given this name: visible text of one line, in the form NFC.

    Ledgers of earlier versions have other names, which `check_account` accepts.
    """
    check_account(name)
    if _INVISIBLE.search(name):
        raise LedgerError("an account's name must not have invisible characters: two names could look alike")
    if name != normal_name(name):
        raise LedgerError("an account's name must be in Unicode's form NFC: two names could look alike")
