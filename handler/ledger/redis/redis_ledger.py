"""The ledger of many machines: Redis, Valkey, or a cluster of either.

All keys of an account lie in one slot, so that each change of it is one script. What a method has written is as durable
as the server is configured to make it: decision 0055.
"""

import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.ledger.account import NEW_ACCOUNT, Account, AccountChange, AccountSummary, Rule
from calpow.handler.ledger.api_key import group_of
from calpow.handler.ledger.history import History
from calpow.handler.ledger.holders import Identity, KeyHolder, Standing
from calpow.handler.ledger.ledger import CHARGE_SECONDS, FAILURE_SECONDS, MOST_FAILURES
from calpow.handler.ledger.limits import NO_LIMITS, NO_USAGE, Usage, read_limits
from calpow.handler.ledger.redis import redis_scripts
from calpow.handler.ledger.redis.redis_client import Script, Value
from calpow.handler.ledger.redis.redis_settings import PAGE, RedisSettings, read_rule
from calpow.handler.ledger.settlement import PlannedStates, Settlement, Spending, settlement_of
from calpow.handler.ledger.solutions import MOST_USES, RETRY_SECONDS, Admission, Outcome, Use, UseResult

# Attempts to charge an account that other workers keep changing.
MOST_CONFLICTS = 32
_ADMISSIONS = {admission.value.encode(): admission for admission in Admission}
# Lengths in front of the parts of a value of several parts.
_LENGTH = struct.Struct("<I")
_OUTCOME = struct.Struct("<dqqq")


class RedisLedger(RedisSettings):
    """A `Ledger` in the server or cluster of a URI."""

    def holders(self, model: str, presented: Sequence[tuple[Identity, Sequence[str]]]) -> list[KeyHolder | None]:
        """Return the account of each identity, or None."""
        of_keys = iter(self._accounts_of([identity.key for identity, _ in presented if identity.key is not None]))
        accounts = [identity.account if identity.key is None else next(of_keys) for identity, _ in presented]
        known = [(account, ids) for account, (_, ids) in zip(accounts, presented, strict=True) if account is not None]
        found = iter(self._standings(model, known))
        holders: list[KeyHolder | None] = []
        for account in accounts:
            if account is None:
                holders.append(None)
            else:
                rule, standing = next(found)
                holders.append(KeyHolder(account, standing, rule))
        return holders

    def models(self) -> list[str]:
        """Return the names of the models that have accounts."""
        return self._members(self._key("models"))

    def summaries(self, model: str) -> Iterator[AccountSummary]:
        """Yield all accounts of a model, in the order of their names."""
        names = self._members(self._key("accounts", model))
        for start in range(0, len(names), PAGE):
            page = names[start : start + PAGE]
            found = self._redis.calls([("HMGET", self._of(name, "account", model), "s", "v") for name in page])
            for name, (sums, version) in zip(page, found, strict=True):
                if sums is not None:  # an account is listed just before it is written
                    cost_micro, queries, owed, *wealth = _numbers(sums)
                    yield AccountSummary(name, cost_micro, queries, tuple(wealth), owed, int(version))

    def forget(self, model: str, account: str, version: int) -> bool:
        """Forget an account that has this version still, and return whether it had."""
        listing = self._key("accounts", model)
        # Before: whoever writes the account again from the start lists it again.
        self._redis.call("SREM", listing, account)
        forgotten = self._redis.script(
            Script(redis_scripts.FORGET, [self._of(account, "account", model)], [str(version)])
        )
        if not forgotten:
            self._redis.call("SADD", listing, account)
        return bool(forgotten)

    def account(self, model: str, account: str) -> Account:
        """Return the state of an account."""
        return self._standings(model, [(account, ())])[0][1].account

    def standing(self, model: str, account: str, ids: Sequence[str]) -> Standing:
        """Return the state of an account and the outcomes of those of the ids that are spent."""
        standing = self._standings(model, [(account, ids)])[0][1]
        if standing.outcomes and self._redis.waits:
            # The answer of an outcome may leave: replicas must have it, also where its own worker still waits for them.
            spent = [self._of(account, "id", name) for name in standing.outcomes]
            self._redis.keep([Script(redis_scripts.TOUCH, spent[:1]).command])
        return standing

    def admit(self, uses: Sequence[Use], *, now: float) -> list[UseResult]:
        """Count uses and return for each whether its request may run."""
        # A repeat leaves without a settlement: replicas must have the one that it repeats.
        found = self._redis.keep([self._admission(use, now).command for use in uses])
        return [_read_result(use, result) for use, result in zip(uses, found, strict=True)]

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Change accounts and spend ids, and return for each settlement whether it was written."""
        return self._write(model, settlements, self._redis.keep)

    def _write(
        self, model: str, settlements: Sequence[Settlement], run: Callable[[Sequence[Sequence[Value]]], list[Any]]
    ) -> list[bool]:
        scripts = [self._settlement(model, settlement) for settlement in settlements if _spends_once(settlement)]
        rows = [row for settlement in settlements for row in (settlement, settlement.group) if row is not None]
        self._list(model, [row.account for row in rows if not row.before])
        written = iter(run([script.command for script in scripts]))
        return [_spends_once(settlement) and next(written) == 1 for settlement in settlements]

    def fail(self, model: str, account: str, ids: Sequence[str], *, expires: float, now: float) -> None:
        """Count a failure of the victim on a request that these ids paid for."""
        keys = [
            self._of(account, "failures", model),
            *(self._of(account, "id", name) for name in ids),
            *(self._of(account, "outcome", f"failed:{name}") for name in ids),
        ]
        arguments: list[Value] = [
            repr(now),
            FAILURE_SECONDS,
            MOST_FAILURES,
            repr(expires),
            _OUTCOME.pack(now, 0, 0, 0),
            *ids,
        ]
        self._redis.script(Script(redis_scripts.FAIL, keys, arguments))

    def charge(self, model: str, changes: Mapping[str, AccountChange], charge: str = "") -> None:
        """Change accounts for answers that were given without payment, one account after another.

        The charge is an id that is spent with the change of each account: a change whose reply was lost is found.
        """
        # Computed before any is written, so that a change that cannot be kept leaves all as they were.
        waiting = self._changed(model, changes, charge)
        for _ in range(MOST_CONFLICTS):
            # Nobody waits for an answer, so that no replica is waited for.
            written = self._write(model, list(waiting.values()), self._redis.calls)
            left = [account for account, is_written in zip(waiting, written, strict=True) if not is_written]
            if not left:
                return
            waiting = self._changed(model, {account: changes[account] for account in left}, charge)
        raise LedgerUnavailable(f"{len(waiting)} accounts changed {MOST_CONFLICTS} times while they were charged")

    def _changed(self, model: str, changes: Mapping[str, AccountChange], charge: str) -> dict[str, Settlement]:
        """Return the settlements of those changes that were not made under this charge's name, by account."""
        now, ids = time.time(), [f"charge:{charge}"] if charge else []
        spendings = [Spending((name,), Outcome(name, "", now, 0, 0, 0), now + CHARGE_SECONDS) for name in ids]
        found = self._standings(model, [(account, ids) for account in changes])
        changed, planned = {}, PlannedStates()
        for (account, change), (_, standing) in zip(changes.items(), found, strict=True):
            if standing.outcomes:
                continue
            before = planned.latest(account, standing.account)
            after = change(before)
            planned.plan(account, after)
            changed[account] = settlement_of(account, before, after, spendings)
            self._settlement(model, changed[account])  # raises where a number is too large
        return changed

    def _standings(self, model: str, asked: Sequence[tuple[str, Sequence[str]]]) -> list[tuple[Rule, Standing]]:
        """Return the rules and standings of accounts, each with the ids of its requests."""
        found = self._redis.scripts(
            [
                Script(
                    redis_scripts.READ,
                    [
                        *(
                            self._of(name, *part)
                            for name in _with_group(account)
                            for part in (("account", model), ("rule",), ("limits",))
                        ),
                        *(self._of(account, "id", name) for name in ids),
                    ],
                    [3 * len(_with_group(account))],
                )
                for account, ids in asked
            ]
        )
        return [
            (_rule(states), Standing(_read_accounts(states), self._outcomes(account, ids, spent)))
            for (account, ids), (states, spent) in zip(asked, found, strict=True)
        ]

    def _outcomes(self, account: str, ids: Sequence[str], spent: Sequence[bytes | None]) -> dict[str, Outcome]:
        """Return the outcomes of ids by what `spent` them. An outcome never changes, so that it can be read later."""
        solutions = {name: solution.decode() for name, solution in zip(ids, spent, strict=False) if solution}
        names = list(dict.fromkeys(solutions.values()))
        found = self._redis.calls([("HMGET", self._of(account, "outcome", name), "d", "b") for name in names])
        outcomes = {
            name: _read_outcome(name, row) for name, row in zip(names, found, strict=True) if row[1] is not None
        }
        return {name: outcomes[solution] for name, solution in solutions.items() if solution in outcomes}

    def _admission(self, use: Use, now: float) -> Script:
        own = self._of(use.account, "outcome", use.solution)
        withheld = own if use.withheld is None else self._of(use.account, "outcome", use.withheld)
        keys = [own, withheld, *(self._of(use.account, "id", name) for name in use.ids)]
        limits = (MOST_USES, RETRY_SECONDS, int(use.withheld is not None))
        return Script(redis_scripts.ADMIT, keys, [use.solution, use.digest, repr(use.expires), repr(now), *limits])

    def _settlement(self, model: str, settlement: Settlement) -> Script:
        account, rows = settlement.account, [settlement]
        if settlement.group is not None:
            rows.append(settlement.group)
        keys = [self._of(row.account, "account", model) for row in rows]
        arguments: list[Value] = [len(rows), *(value for row in rows for value in _fields(row))]
        for ids, outcome, expires in settlement.spendings:
            keys += [self._of(account, "outcome", outcome.solution), *(self._of(account, "id", name) for name in ids)]
            numbers = _OUTCOME.pack(outcome.settled, outcome.price, outcome.work, outcome.rest)
            arguments += [len(ids), outcome.solution, outcome.digest, repr(outcome.settled), str(outcome.rest)]
            arguments += [numbers + _packed(outcome.credit), repr(expires)]
        return Script(redis_scripts.SETTLE, keys, arguments)

    def _list(self, model: str, accounts: Sequence[str]) -> None:
        """List accounts that are about to be written for the first time."""
        if accounts:
            self._redis.calls([("SADD", self._key("models"), model), ("SADD", self._key("accounts", model), *accounts)])


def _with_group(account: str) -> list[str]:
    """Return an account and its group, if it has one."""
    group = group_of(account)
    return [account] if group is None else [account, group]


def _fields(change: Settlement) -> list[Value]:
    """Return what a settlement writes of one account, as its script takes it."""
    history = change.history
    sums = _packed((history.cost_micro, history.queries, change.owed, *history.wealth))
    new = _joined(history.new_digests, history.new_sketches)
    old = b"" if change.keeps_old else _joined(history.digests, history.sketches)
    usage = b"" if change.usage is None else _packed(change.usage)
    return [str(change.before), str(change.before + 1), sums, new, old, int(change.keeps_old), usage]


def _rule(states: Sequence[Sequence[Any]]) -> Rule:
    """Return the rule for an account, from its own and its group's."""
    own, *group = [read_rule(rule) for _, rule, _ in states]
    return own.with_group(*group) if group else own


def _spends_once(settlement: Settlement) -> bool:
    """Return whether no id is spent twice by one settlement."""
    ids = [name for spending in settlement.spendings for name in spending.ids]
    return len(set(ids)) == len(ids)


def _read_accounts(rows: Sequence[Sequence[Any]]) -> Account:
    """Return an account from its state and, if it has a group, that of the group."""
    own, *group = map(_read_account, rows)
    return own._replace(group=group[0]) if group else own


def _read_account(state: Sequence[Any]) -> Account:
    (sums, new, old, version, usage), _, stated = state
    limits = NO_LIMITS if stated is None else read_limits(stated)
    if sums is None:
        return NEW_ACCOUNT._replace(limits=limits)
    cost_micro, queries, owed, *wealth = _numbers(sums)
    history = History(cost_micro, queries, tuple(wealth), *_parted(old or _joined(b"", b"")), *_parted(new))
    return Account(history, owed, int(version), None, NO_USAGE if usage is None else Usage(*_numbers(usage)), limits)


def _read_outcome(solution: str, row: Sequence[bytes]) -> Outcome:
    digest, numbers = row
    settled, price, work, rest = _OUTCOME.unpack_from(numbers)
    return Outcome(solution, digest.decode(), settled, price, work, rest, _numbers(numbers[_OUTCOME.size :]))


def _read_result(use: Use, result: Sequence[Any]) -> UseResult:
    admission, outcome, withheld = (*result, None, None)[:3]
    return UseResult(
        _ADMISSIONS[admission],
        _read_outcome(use.solution, outcome) if outcome else None,
        _read_outcome(use.withheld or "", withheld) if withheld else None,
    )


def _packed(numbers: Sequence[int]) -> bytes:
    """Return signed integers of 64 bits as bytes. Raises LedgerUnavailable for larger ones, as SQLite's ledger does."""
    try:
        return struct.pack(f"<{len(numbers)}q", *numbers)
    except struct.error as error:
        raise LedgerUnavailable(f"the ledger cannot keep a number: {error}") from error


def _numbers(value: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(value) // 8}q", value)


def _joined(first: bytes, second: bytes) -> bytes:
    """Return two parts as one value, the length of the first in front."""
    return _LENGTH.pack(len(first)) + first + second


def _parted(value: bytes) -> tuple[bytes, bytes]:
    (length,) = _LENGTH.unpack_from(value)
    return value[_LENGTH.size : _LENGTH.size + length], value[_LENGTH.size + length :]
