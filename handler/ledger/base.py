"""What a ledger must do, whatever stores it: accounts, open challenges, keys and signing secrets.

LedgerError
└── LedgerUnavailable
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from calpow.puzzle.errors import CalpowError


class LedgerError(CalpowError):
    """Something was asked of the ledger that it cannot do: an unknown key, a URI nobody serves."""


class LedgerUnavailable(LedgerError):
    """The store does not answer, or what is there is no ledger. The same call works again once it does."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request adds to an account: costs in micro-units (the excess may be negative), samples in it."""

    cost_micro: int
    excess_micro: int
    queries: int

    def __add__(self, other: "Charge") -> "Charge":
        return Charge(
            self.cost_micro + other.cost_micro, self.excess_micro + other.excess_micro, self.queries + other.queries
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """What an account has run up with one model, in the same units. The sums are exact."""

    cost_micro: int
    excess_micro: int
    queries: int

    def __add__(self, charge: Charge) -> "Totals":
        return Totals(
            self.cost_micro + charge.cost_micro,
            self.excess_micro + charge.excess_micro,
            self.queries + charge.queries,
        )


NOTHING = Totals(0, 0, 0)


@dataclass(frozen=True, slots=True)
class OpenChallenge:
    """A challenge as the ledger keeps it: `expires` in seconds since the epoch, `hashes` the expected work."""

    id: str
    token: str
    expires: float
    hashes: int


@dataclass(frozen=True, slots=True)
class Payment:
    """Verified prepaid stamps: their names, their work in expected hashes, and when the first of them goes stale.

    `holder` is the worker that answers if they are enough.
    """

    stamps: tuple[str, ...]
    hashes: int
    stale_at: float
    holder: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands with a model: the challenge open for this payload, and how many are open at all."""

    challenge: OpenChallenge | None
    open_count: int
    soonest_expiry: float | None


@dataclass(frozen=True, slots=True)
class QuoteRequest:
    """A priced payload that wants a challenge. `draft` makes one from the account's totals after the charge.

    `charge` is added at once, `credit` only when the challenge is settled: what makes an account look better has to
    be paid for.

    `draft` runs inside the transaction, so it must be quick and must not call the ledger. What it raises
    comes through, and nothing of the whole batch is charged then.
    """

    account: str
    digest: str
    charge: Charge
    credit: Charge
    draft: Callable[[Totals], OpenChallenge]
    payment: Payment | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """The challenge to answer; `charged` is False where it was open before, `paid` says that the payment was enough.

    A paid challenge is held by the payment's holder, as if it had been redeemed.
    """

    challenge: OpenChallenge
    charged: bool
    paid: bool = False


@dataclass(frozen=True, slots=True)
class TooManyOpen:
    """Refused and not charged: the account must redeem a challenge or wait `retry_after` seconds for one to lapse."""

    retry_after: float


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that signs challenges."""

    id: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of an API key after it was handed out; times in seconds since the epoch."""

    id: str
    account: str
    created: float
    revoked: float | None


class Ledger(Protocol):
    """One shared book for all workers. Every method may raise LedgerUnavailable, and then has done nothing.

    A challenge is open, then held by the worker that redeems it, then spent; its record stays until it
    expires, so that it is redeemed once at most. Times are seconds since the epoch.
    """

    def deployment(self) -> str:
        """Random name of this deployment, 6 hex digits, made together with the ledger."""

    def secrets(self) -> tuple[Secret, ...]:
        """Signing secrets, oldest first, at least one (32 random bytes, made together with the ledger)."""

    def add_key(self, account: str) -> str:
        """Make a key for an account and return it in clear, this once: only its SHA-256 is kept.

        Raises LedgerError when the account's name cannot be one.
        """

    def keys(self) -> tuple[Key, ...]:
        """All keys, revoked ones too, oldest first."""

    def revoke_key(self, key_id: str) -> None:
        """Refuse a key from now on. A second time changes nothing. Raises LedgerError when there is none such."""

    def account_of(self, key: str) -> str | None:
        """The account a key belongs to; None when the key is unknown or revoked."""

    def totals(self, model: str, account: str) -> Totals:
        """What an account has run up with a model; zeros for one never seen."""

    def standing(self, model: str, account: str, digest: str, now: float) -> Standing:
        """How an account stands before a payload is priced. Changes nothing, so `quote` may find it otherwise."""

    def quote(
        self, model: str, requests: Sequence[QuoteRequest], *, now: float, max_open: int
    ) -> list[Quote | TooManyOpen]:
        """Charge and challenge a batch in one transaction; results in the order of the requests.

        A payload whose challenge is open gets that one and is not charged again, also within the batch.
        Once this returns, the charges outlast a power failure.
        """

    def charge(self, model: str, charges: Mapping[str, Charge]) -> None:
        """Add to accounts, by name, what answers cost that nobody had to pay for; all of it or nothing.

        What was added last may be lost with the power: nothing was sold for it.
        """

    def pay(self, challenge: OpenChallenge, payment: Payment, *, now: float) -> bool:
        """Redeem an open challenge with prepaid stamps: all of it and all of them, or nothing.

        False when they are too little, when one was spent on another challenge, or the challenge is not open.
        Stamps that were held for this very challenge count again after an `undo`.
        """

    def redeem(self, ids: Sequence[str], *, now: float, holder: str) -> frozenset[str]:
        """Take those of the challenges that are open and unexpired, all in one transaction, and return them.

        No other call gets them then, until `undo` or `recover`. An id that is there twice is taken once.
        """

    def settle(self, ids: Sequence[str]) -> None:
        """Spend held challenges for good and book their credits. Call it before the answers leave.

        Once this returns, that they are spent outlasts a power failure.
        """

    def undo(self, ids: Sequence[str]) -> None:
        """Open held challenges again, because there was no answer."""

    def recover(self, is_alive: Callable[[str], bool]) -> int:
        """Open the challenges of holders that are no more; returns how many.

        A holder that was dead once must stay dead: put a process's start time into its name.
        """
