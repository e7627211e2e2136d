"""The headers of a request that state its identity, not verified yet."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from calpow.puzzle.wire import ACCOUNT_HEADER, IDENTITY_HEADER, KEY_HEADER, PROXY_SECRET_HEADER

CREDENTIAL_HEADERS = (
    KEY_HEADER.lower(),
    IDENTITY_HEADER.lower(),
    ACCOUNT_HEADER.lower(),
    PROXY_SECRET_HEADER.lower(),
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The headers of a request that state an identity; None where there is no such header, or an empty one.

    key: an API key. token: a JSON Web Token. account, secret: of a proxy. All are secrets but `account`.
    repeated: the lower-case name of one of these headers that the request has several times, in different spellings.
    """

    key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    account: str | None = None
    secret: str | None = field(default=None, repr=False)
    repeated: str | None = None

    @classmethod
    def read(cls, headers: Iterable[tuple[str, str]]) -> "Credentials":
        """Read headers, or the entries of gRPC's input map, whose names are matched without regard to case."""
        found: dict[str, str] = {}
        repeated = None
        for name, value in headers:
            lower = name.lower()
            if lower in CREDENTIAL_HEADERS:
                repeated = lower if lower in found else repeated
                found[lower] = value
        key, token, account, secret = (found.get(name) or None for name in CREDENTIAL_HEADERS)
        return cls(key, token, account, secret, repeated)
