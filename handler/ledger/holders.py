"""Keys and signing secrets, and the accounts that hold them, with their standing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from calpow.handler.ledger.account import Account, Rule
from calpow.handler.ledger.solutions import Outcome


class Identity(NamedTuple):
    """Identity that a request shows: a key, as text, or the name of an account that is proven in another way.

    The other one is None. An account that is proven need not be known to the ledger.
    """

    key: str | None = None
    account: str | None = None


class Standing(NamedTuple):
    """State of an account, together with the outcomes of the ids that a request presents.

    `outcomes` maps each spent id to its outcome. An id that was used but not spent is not in it.
    """

    account: Account
    outcomes: Mapping[str, Outcome]


class KeyHolder(NamedTuple):
    """The account of an identity, by name, its standing, and the operator's rule for it or for its group."""

    name: str
    standing: Standing
    rule: Rule = Rule.PRICED


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as the ledger lists it, without its text. Times are in seconds since the epoch, None for never."""

    id: str
    account: str
    created: float
    revoked: float | None
    expires: float | None = None

    @property
    def ends(self) -> float | None:
        """The time from which on the key is refused; None for one that is good until it is revoked."""
        times = [time for time in (self.revoked, self.expires) if time is not None]
        return min(times) if times else None


class KeyRecord(NamedTuple):
    """An API key as another ledger can take it over: its SHA-256, without its text. Times are as in Key."""

    id: str
    digest: bytes
    account: str
    created: float
    revoked: float | None
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """Secret with which challenges are signed."""

    id: str
    value: bytes
