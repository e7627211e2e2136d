"""The interface of a ledger, whatever stores it: accounts, spent solutions, keys and signing secrets.

LedgerError
└── LedgerUnavailable
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from calpow.puzzle.errors import CalpowError

MOST_USES = 5
"""How many times one id may be used: for passes of the victim and for repeated answers together."""

RETRY_SECONDS = 600.0
"""How long after its settling a solution still repeats its outcome."""

MOST_FAILURES = 10
"""How many failures of the victim an account may have in FAILURE_SECONDS before a failure spends its work."""

FAILURE_SECONDS = 3600.0
"""Length of the window in which failures are counted; it starts with the first failure."""


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
class Account:
    """State of one account with one model.

    `owed` is what the account owes from earlier answers, in hashes; it is negative where the account paid more than
    was due. `version` counts the changes of the account and is 0 for an account that was never seen.
    """

    totals: Totals
    owed: int
    version: int


NEW_ACCOUNT = Account(NOTHING, 0, 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one solution bought. It is settled once and does not change.

    `solution` is the name of the solution, a digest of its ids. `digest` is the exact digest of the request on which
    the solution was spent. `settled` is the time of the settling, in seconds since the epoch. `price` is what the
    samples came to, `work` what was presented and `rest` what is still asked for the withheld answer, in hashes;
    `rest` is 0 where the answer was given.
    """

    solution: str
    digest: str
    settled: float
    price: int
    work: int
    rest: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What the ledger knows before anything is hashed.

    `outcomes` holds, by id, the outcomes of those ids that are spent. An id that was used but not spent is not in it.
    """

    account: Account
    outcomes: Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Use:
    """One attempt to spend a solution on a request.

    `ids` are the ids that are spent together, each named once: those of the challenge, or of each prepaid stamp.
    `digest` is the exact digest of the request. The ledger remembers the ids until `expires`, in seconds since the
    epoch. `withheld` is the name of the solution whose withheld answer this one pays for, if it pays for one.
    """

    solution: str
    ids: tuple[str, ...]
    digest: str
    expires: float
    withheld: str | None = None


class Admission(Enum):
    """What the ledger says to a use."""

    FRESH = "fresh"
    """No id is spent, and the use was counted: the request may run."""

    REPEAT = "repeat"
    """The solution was spent on this request within RETRY_SECONDS: the settled outcome is repeated."""

    SPENT = "spent"
    """An id is spent, and this is no retry."""

    EXHAUSTED = "exhausted"
    """An id has had MOST_USES uses."""

    MISMATCH = "mismatch"
    """There is no withheld answer of that name for this request."""


@dataclass(frozen=True, slots=True)
class UseResult:
    """What became of a use.

    `outcome` is the settled outcome, for a REPEAT only. `withheld` is the outcome whose rest the use pays for, for
    a FRESH or a REPEAT that pays for one.
    """

    admission: Admission
    outcome: Outcome | None = None
    withheld: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """The ids of one solution, spent together, and what they bought. Both are remembered until `expires`.

    For a withheld answer, `expires` is late enough for the last challenge for the rest: RETRY_SECONDS after the
    settling, a retry can still be given one.
    """

    ids: tuple[str, ...]
    outcome: Outcome
    expires: float


@dataclass(frozen=True, slots=True)
class Settlement:
    """The new state of an account, computed from its version `before`, and what is spent with it."""

    account: str
    before: int
    totals: Totals
    owed: int
    spendings: tuple[Spending, ...]


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
    """One ledger that all workers share. A method that raises LedgerUnavailable has changed nothing.

    Each method is one atomic operation, and every process sees at once what it changed. Times are seconds since the
    epoch, work is in expected hashes.

    An id is unknown, then used (up to MOST_USES times), then spent. The ledger remembers it until the latest `expires`
    that came with a fresh use or with its spending, and may forget it afterwards: a forgotten id counts as unknown.
    Therefore the caller passes an `expires` at which the challenge or the stamp itself has expired for every worker,
    also for one that looked at it some minutes ago or whose clock is slow. The ledger adds no margin.
    """

    def deployment(self) -> str:
        """Return the random name of this deployment, 6 hex digits, made together with the ledger."""

    def secrets(self) -> tuple[Secret, ...]:
        """Return the signing secrets, oldest first: at least one (32 random bytes, made together with the ledger)."""

    def add_key(self, account: str) -> str:
        """Make a key for an account and return it in clear, this once: only its SHA-256 is kept.

        Raises LedgerError when the account's name cannot be one.
        """

    def keys(self) -> tuple[Key, ...]:
        """Return all keys, revoked ones too, oldest first."""

    def revoke_key(self, key_id: str) -> None:
        """Refuse a key from now on. A second time changes nothing. Raises LedgerError when there is none such."""

    def account_of(self, key: str) -> str | None:
        """Return the account a key belongs to; None when the key is unknown or revoked."""

    def account(self, model: str, account: str) -> Account:
        """Return the state of an account; NEW_ACCOUNT for one never seen."""

    def standing(self, model: str, account: str, ids: Sequence[str]) -> Standing:
        """Return the state of an account and the outcomes of those of the ids that are spent.

        This is one read. It changes nothing, so `admit` and `settle` may find another state.
        """

    def admit(self, uses: Sequence[Use], *, now: float) -> list[UseResult]:
        """Count uses, and tell for each one whether its request may run; results in the order of the uses.

        A use that names a withheld answer is a MISMATCH unless there is an outcome of that name, of the same request,
        with a rest. If no id is spent, the use is FRESH and counted for each id, or EXHAUSTED where an id has
        had MOST_USES already. If all ids were spent by this solution on this request within RETRY_SECONDS, it is a
        REPEAT; where the answer was given, a repeat counts as a use, too, and is EXHAUSTED beyond MOST_USES.
        Anything else is SPENT.

        The last uses may be lost in a power failure: an id that is not spent is then good for some uses more.
        """

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Change accounts and spend ids, each settlement as compare-and-set by itself; whether each was written.

        A settlement is written if the account's version is still `before` and none of its ids is spent: the totals
        and what is owed are set, the version increases by one, the ids are spent and the outcomes stored. Otherwise
        nothing of it is written. Of two settlements of one account, the second sees the first one's version.

        Call it before the answers leave. Once it returns, what was written outlasts a power failure.
        """

    def fail(self, model: str, account: str, ids: Sequence[str], *, expires: float, now: float) -> None:
        """Count a failure of the victim on a request that these ids paid for.

        The ids stay good, unless the account has failed more than MOST_FAILURES times in FAILURE_SECONDS: then the
        ids that are not spent yet are spent with an outcome that no retry matches (its digest is empty). The window is
        fixed: it starts with the account's first failure, and the first failure after its end starts the next one.
        The account's version does not change.
        """

    def charge(self, model: str, charges: Mapping[str, Charge]) -> None:
        """Add to the totals of accounts, by name, what answers cost that nobody had to pay for: all or nothing.

        The version of each account increases by one. The last charges may be lost in a power failure: nothing was
        sold for them.
        """
