"""The interface that every ledger backend implements, and the records that pass through it.

Those of every request are named tuples, which take a third of the time of frozen dataclasses to create.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from calpow.handler.ledger.api_key import group_of
from calpow.handler.ledger.history import NO_HISTORY, History
from calpow.handler.ledger.limits import NO_LIMITS, NO_USAGE, AccountLimits, Usage

MOST_USES = 5
"""Largest number of uses of one id: passes of the victim and repeated answers together. Decision 0003."""

RETRY_SECONDS = 600.0
"""Time after its settlement during which a solution repeats its outcome, in seconds. Decision 0004."""

MOST_FAILURES = 10
"""Largest number of failures of the victim in FAILURE_SECONDS that leave an account's work unspent."""

FAILURE_SECONDS = 3600.0
"""Length of the window in which failures are counted, in seconds. It starts with the first failure."""


class Account(NamedTuple):
    """State of one account for one model.

    `owed` is the work that the account owes for earlier answers, in hashes. It is negative when the account paid more
    than was due. `version` counts the changes of the account and is 0 for an account that the ledger has never seen.
    `group` is the state of its group, an account whose history all members share; None for one without a group.
    `usage` counts its samples, and `limits` are those that the operator has set for it.
    """

    history: History
    owed: int
    version: int
    group: "Account | None" = None
    usage: Usage = NO_USAGE
    limits: AccountLimits = NO_LIMITS

    # Accounts are made anew several times for each answer: `_replace` takes four times as long.
    def with_history(self, history: History) -> "Account":
        """Return the account with another history."""
        return Account(history, self.owed, self.version, self.group, self.usage, self.limits)

    def owing(self, owed: int) -> "Account":
        """Return the account with another debt."""
        return Account(self.history, owed, self.version, self.group, self.usage, self.limits)

    def on(self, day: int) -> "Account":
        """Return the account, and its group, on a day."""
        group = None if self.group is None else self.group.on(day)
        usage = self.usage.on(day)
        if usage is self.usage and group is self.group:
            return self
        return Account(self.history, self.owed, self.version, group, usage, self.limits)

    def counted(self, samples: int) -> "Account":
        """Return the account, and its group, with more samples in their usage."""
        group = None if self.group is None else self.group.counted(samples)
        return Account(self.history, self.owed, self.version, group, self.usage.plus(samples), self.limits)

    @property
    def is_plain(self) -> bool:
        """Whether it has neither a group nor limits, as most accounts."""
        return self.group is None and self.limits is NO_LIMITS

    @property
    def limited(self) -> "tuple[Account, ...]":
        """Those of the account and its group that have limits."""
        if self.group is None or self.group.limits is NO_LIMITS:
            return () if self.limits is NO_LIMITS else (self,)
        return (self.group,) if self.limits is NO_LIMITS else (self, self.group)

    @property
    def free_samples(self) -> int:
        """The number of the next samples that are free, where their evidence lets them: what both still allow."""
        left = [one.limits.free - one.usage.today for one in self.limited if one.limits.free is not None]
        return max(0, min(left)) if left else 0

    @property
    def samples_left(self) -> int | None:
        """The number of samples that the budgets of the account and its group leave; None where they have none."""
        limited = self.limited
        left = [one.limits.budget - one.usage.total for one in limited if one.limits.budget is not None]
        left += [one.limits.day_budget - one.usage.today for one in limited if one.limits.day_budget is not None]
        return max(0, min(left)) if left else None


AccountChange = Callable[[Account], Account]

NEW_ACCOUNT = Account(NO_HISTORY, 0, 0)


class Outcome(NamedTuple):
    """Result of spending one solution. It is written once and does not change.

    `solution` is the name of the solution, a digest of its ids. `digest` is the exact digest of the request on which
    the solution was spent. `settled` is the time of the settlement, in seconds since the epoch. `price` is the price
    of the samples, `work` the work presented and `rest` the work still required for the withheld answer, all in
    hashes; `rest` is 0 when the answer was given. `credit` is the log wealth of each bet, in millionths, that the
    samples of a withheld answer earn once the answer is given; of the account's bets, then of its group's.
    """

    solution: str
    digest: str
    settled: float
    price: int
    work: int
    rest: int
    credit: tuple[int, ...] = ()


class Standing(NamedTuple):
    """State of an account, together with the outcomes of the ids that a request presents.

    `outcomes` maps each spent id to its outcome. An id that was used but not spent is not in it.
    """

    account: Account
    outcomes: Mapping[str, Outcome]


class Rule(Enum):
    """Rule that an operator has set for an account, for all models."""

    PRICED = "priced"
    """Answers cost what its queries make them cost: the rule of an account for which none was set."""

    TRUSTED = "trusted"
    """Every sample counts as an ordinary one: the account comes down to the floor and stays there."""

    PROBE = "probe"
    """Nothing is answered but the payload that the account is named for; that counts as an ordinary sample."""

    BLOCKED = "blocked"
    """Nothing is answered."""

    def with_group(self, group: "Rule") -> "Rule":
        """Return the rule that holds for a member of a group: nobody is answered of whom one of both is blocked."""
        strictest_first = (Rule.BLOCKED, Rule.PROBE, Rule.TRUSTED)
        return next((rule for rule in strictest_first if rule in (self, group)), Rule.PRICED)


class Identity(NamedTuple):
    """Identity that a request shows: a key, as text, or the name of an account that is proven in another way.

    The other one is None. An account that is proven need not be known to the ledger.
    """

    key: str | None = None
    account: str | None = None


class KeyHolder(NamedTuple):
    """The account of an identity, by name, its standing, and the operator's rule for it or for its group."""

    name: str
    standing: Standing
    rule: Rule = Rule.PRICED


class AccountSummary(NamedTuple):
    """State of an account for one model, without the samples that it was answered before, and its last change's number.

    The members are those of History and Account.
    """

    name: str
    cost_micro: int
    queries: int
    wealth: tuple[int, ...]
    owed: int
    version: int


class Use(NamedTuple):
    """One attempt of an account to spend a solution on a request.

    `ids` are the ids that are spent together, without repetition: those of the challenge, or one for each prepaid
    stamp. `digest` is the exact digest of the request. The ledger remembers the ids until `expires`, in seconds since
    the epoch. `withheld` is the name of the solution whose withheld answer this one pays for, if there is one.
    """

    account: str
    solution: str
    ids: tuple[str, ...]
    digest: str
    expires: float
    withheld: str | None = None


class Admission(Enum):
    """Answer of the ledger to a use."""

    FRESH = "fresh"
    """No id is spent, and the use was counted: the request may run."""

    REPEAT = "repeat"
    """The solution was spent on this request within RETRY_SECONDS: the settled outcome is repeated."""

    SPENT = "spent"
    """An id is spent, and this is no retry."""

    EXHAUSTED = "exhausted"
    """An id was used MOST_USES times already."""

    MISMATCH = "mismatch"
    """There is no withheld answer of that name for this request."""


class UseResult(NamedTuple):
    """Result of a use.

    `outcome` is the settled outcome, for a REPEAT only. `withheld` is the outcome whose rest the use pays for, for a
    FRESH or a REPEAT that pays for one.
    """

    admission: Admission
    outcome: Outcome | None = None
    withheld: Outcome | None = None


class Spending(NamedTuple):
    """The ids of one solution, which are spent together, and their outcome. Both are remembered until `expires`.

    For a withheld answer, `expires` covers the last challenge for the rest: a retry within RETRY_SECONDS of the
    settlement still receives one.
    """

    ids: tuple[str, ...]
    outcome: Outcome
    expires: float


class Settlement(NamedTuple):
    """New state of an account, computed from its version `before`, and the solutions that are spent with it.

    `keeps_old` says that the `digests` and `sketches` of the history are those of that version, and need no writing.
    `group` is the change of its group's account, which is written with it or not at all; None leaves that as it is.
    `usage` is None where it stays as it is.
    """

    account: str
    before: int
    history: History
    owed: int
    spendings: tuple[Spending, ...]
    keeps_old: bool = False
    group: "Settlement | None" = None
    usage: Usage | None = None


def settlement_of(name: str, before: Account, after: Account, spendings: Sequence[Spending] = ()) -> Settlement:
    """Return the settlement that takes an account, and its group, from one state to another."""
    group = None
    if before.group is not None and after.group is not None:
        group = settlement_of(group_of(name) or "", before.group, after.group)
    old, new = before.history, after.history
    keeps_old = old.digests is new.digests and old.sketches is new.sketches
    usage = None if after.usage is before.usage else after.usage
    return Settlement(name, before.version, new, after.owed, tuple(spendings), keeps_old, group, usage)


class PlannedStates:
    """States of accounts once earlier settlements of the same call are written, which those after build on."""

    def __init__(self) -> None:
        self._states: dict[str, Account] = {}

    def latest(self, name: str, read: Account) -> Account:
        """Return an account, and its group, as planned, or as read where nothing is planned."""
        own = self._one(name, read)
        return own if read.group is None else own._replace(group=self._one(group_of(name) or "", read.group))

    def plan(self, name: str, after: Account) -> None:
        """Plan a change of an account to a state, and of its group with it."""
        self._states[name] = after
        if after.group is not None:
            self._states[group_of(name) or ""] = after.group

    def _one(self, name: str, read: Account) -> Account:
        planned = self._states.get(name)
        return read if planned is None else planned._replace(version=planned.version + 1, group=None)


@dataclass(frozen=True, slots=True)
class Secret:
    """Secret with which challenges are signed."""

    id: str
    value: bytes


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


class Ledger(Protocol):
    """Ledger that all workers share.

    Each method is one atomic operation whose changes every process sees at once. A method that raises
    LedgerUnavailable has changed nothing. Times are in seconds since the epoch, work is in expected hashes.

    What a method has written survives the end of every process. Keys, rules, limits and modes survive a power failure
    as well. It may lose other changes of the last second: accounts are then as they were before, and solutions that
    were spent in it can be spent once more. Decision 0051.

    Accounts whose names begin with `TENANT/` are members of a group, the account `TENANT`. What a method returns of a
    member holds its group's state, and what is written of a member is written with its group's or not at all.

    Ids and solutions are an account's own: a challenge is issued to one account, and a prepaid stamp is minted for one
    of its keys, so that the gate accepts neither from another. The ledger may keep those of two accounts apart.

    An id is unknown, then used (up to MOST_USES times), then spent. The ledger remembers an id until the latest
    `expires` that came with a fresh use or with its spending, and may forget it afterwards. A forgotten id counts as
    unknown. Therefore the caller passes an `expires` at which the challenge or the stamp itself has expired for every
    worker, including one that read it some minutes ago and one whose clock is slow. The ledger adds no margin.
    """

    def deployment(self) -> str:
        """Return the random name of this deployment: 6 hexadecimal digits, created with the ledger."""

    def secrets(self) -> tuple[Secret, ...]:
        """Return the signing secrets, oldest first. The first one, 32 random bytes, is created with the ledger."""

    def add_key(self, account: str, expires: float | None = None) -> str:
        """Create a key for an account, good until it expires, and return it in clear.

        The ledger keeps only its SHA-256. Raises LedgerError when `account` is not a valid name.
        """

    def keys(self) -> tuple[Key, ...]:
        """Return all keys, including revoked and expired ones, oldest first."""

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key. Revoking it again changes nothing. Raises LedgerError when there is no such key."""

    def key_records(self) -> tuple[KeyRecord, ...]:
        """Return all keys with their digests, oldest first."""

    def restore_keys(self, records: Sequence[KeyRecord]) -> None:
        """Add keys of another ledger. One whose id is there already stays as it is here."""

    def rotate_secret(self) -> Secret:
        """Add a signing secret, forget all others but the newest, and return the new one.

        Workers sign with it within ten seconds. Challenges that the one before has signed stay good.
        """

    def account_of(self, key: str) -> str | None:
        """Return the account that a key belongs to, or None when the key is unknown, revoked or expired."""

    def holders(self, model: str, presented: Sequence[tuple[Identity, Sequence[str]]]) -> list[KeyHolder | None]:
        """Return the account of each identity, given with the ids of its request; None as for `account_of`."""

    def rule(self, account: str) -> Rule:
        """Return the operator's rule for an account or its group; PRICED where there is none."""

    def set_rule(self, account: str, rule: Rule) -> None:
        """Set the operator's rule for an account. Raises LedgerError when `account` is not a valid name."""

    def rules(self) -> Mapping[str, Rule]:
        """Return the rules that operators have set, by account."""

    def limits_of(self, account: str) -> AccountLimits:
        """Return the limits that the operator has set for an account, without those of its group."""

    def set_limits(self, account: str, limits: AccountLimits) -> None:
        """Set the limits of an account; NO_LIMITS takes them away. Raises LedgerError for what is no valid name."""

    def limits(self) -> Mapping[str, AccountLimits]:
        """Return the limits that operators have set, by account."""

    def mode(self, model: str) -> str | None:
        """Return the mode that an operator has set for a model; None where it is the archive's."""

    def set_mode(self, model: str, mode: str | None) -> None:
        """Set the mode of a model for all workers; None leaves it to the archive."""

    def modes(self) -> Mapping[str, str]:
        """Return the modes that operators have set, by model."""

    def models(self) -> list[str]:
        """Return the names of the models that have accounts, in alphabetical order."""

    def summaries(self, model: str) -> Iterator[AccountSummary]:
        """Yield all accounts of a model, in the order of their names; those that change meanwhile as they then are."""

    def forget(self, model: str, account: str, version: int) -> bool:
        """Forget an account that has this version still, and return whether it had. It is NEW_ACCOUNT afterwards."""

    def account(self, model: str, account: str) -> Account:
        """Return the state of an account. An account that the ledger has never seen is NEW_ACCOUNT."""

    def standing(self, model: str, account: str, ids: Sequence[str]) -> Standing:
        """Return the state of an account and the outcomes of those ids that are spent.

        This is a single read. It reserves nothing, so `admit` and `settle` may find another state.
        """

    def admit(self, uses: Sequence[Use], *, now: float) -> list[UseResult]:
        """Count uses and return for each, in order, whether its request may run.

        A use that names a withheld answer is a MISMATCH unless there is an outcome of that name, for the same request,
        with a rest. When no id is spent, the use is FRESH and is counted for each id, or it is EXHAUSTED when an id
        was used MOST_USES times already. When all ids were spent by this solution on this request within
        RETRY_SECONDS, the use is a REPEAT. A repeat of an answer that was given counts as a use, too, and is EXHAUSTED
        beyond MOST_USES. Every other use is SPENT.
        """

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Change accounts and spend ids, and return for each settlement whether it was written.

        Each settlement is a compare-and-set of its own. It is written if the account has the version `before`, if that
        of its group's change is as well, and if none of its ids is spent: the history and the owed work are set, the
        version increases by one, the ids are spent and the outcomes stored. Otherwise nothing of it is written. Of two
        settlements of one account, the second sees the version that the first one wrote.

        Call it before the answers leave. Decision 0003.
        """

    def fail(self, model: str, account: str, ids: Sequence[str], *, expires: float, now: float) -> None:
        """Count a failure of the victim on a request that these ids paid for.

        The ids stay unspent, unless the account has failed more than MOST_FAILURES times in FAILURE_SECONDS. Then the
        ids that are not spent yet are spent with an outcome that no retry matches (its digest is empty). The window is
        fixed: it starts with the account's first failure, and the first failure after its end starts the next window.
        The account's version does not change.
        """

    def charge(self, model: str, changes: Mapping[str, AccountChange]) -> None:
        """Change accounts, by name, for answers that were given without payment.

        Each function maps the account, with its group, to its next state but for the version, and may be called more
        than once. Where one raises, or a sum cannot be kept, nothing is written. The change of each account is atomic;
        where the ledger fails between two, those of the first accounts are written. The version of each account, and of
        its group, increases by one.
        """
