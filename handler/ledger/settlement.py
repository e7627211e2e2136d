"""Settlements: changes of accounts, with the solutions that are spent with them."""

from collections.abc import Sequence
from typing import NamedTuple

from calpow.handler.ledger.account import Account
from calpow.handler.ledger.api_key import group_of
from calpow.handler.ledger.history import History
from calpow.handler.ledger.limits import Usage
from calpow.handler.ledger.solutions import Outcome


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
