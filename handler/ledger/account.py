"""State of an account for one model, and the rules that operators set for accounts.

An account is read and changed with every answer: a named tuple takes a third of the time of a frozen dataclass.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from calpow.handler.ledger.history import NO_HISTORY, History
from calpow.handler.ledger.limits import NO_LIMITS, NO_USAGE, AccountLimits, Usage


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
