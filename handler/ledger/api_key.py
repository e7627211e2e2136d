"""API keys, `cp_<id>_<secret>`: how they are made, recognised and kept."""

import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256

from calpow.handler.ledger.ledger import LedgerError

_FORM = re.compile(r"cp_([0-9a-f]{8})_[0-9a-f]{48}", re.ASCII)
_LONGEST_ACCOUNT = 128


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in clear. `digest` is what a ledger may keep of it: 192 random bits need no slow hash."""

    id: str
    text: str

    @classmethod
    def generate(cls) -> "ApiKey":
        """Make a random key."""
        name = secrets.token_hex(4)
        return cls(name, f"cp_{name}_{secrets.token_hex(24)}")

    @classmethod
    def read(cls, text: str) -> "ApiKey | None":
        """Read what a client sent; None when it has not the form of a key."""
        found = _FORM.fullmatch(text)
        return cls(found[1], text) if found else None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole key."""
        return sha256(self.text.encode("ascii")).digest()

    def matches(self, digest: bytes) -> bool:
        """Whether this is the key the digest was made of, in constant time."""
        return hmac.compare_digest(self.digest, digest)


def check_account(name: str) -> None:
    """Raise LedgerError unless the name can be written on one line and found again."""
    size = len(name.encode("utf-8", "replace"))
    if not 1 <= size <= _LONGEST_ACCOUNT or name != name.strip() or not name.isprintable():
        raise LedgerError(
            f"an account's name has 1 to {_LONGEST_ACCOUNT} bytes of printable text and no space at its ends"
        )
