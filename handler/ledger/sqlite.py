"""The ledger of one machine: an SQLite file that all its workers share.

What a method has written when it returns is visible to the other processes and survives the end of this one. What the
methods for keys write is on the disk as well; a power failure may lose the last second of the rest. Decision 0051.
"""

import json
import sqlite3
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from calpow.handler.errors import LedgerError
from calpow.handler.ledger.api_key import ApiKey, check_account
from calpow.handler.ledger.history import History
from calpow.handler.ledger.ledger import (
    FAILURE_SECONDS,
    MOST_FAILURES,
    MOST_USES,
    NEW_ACCOUNT,
    RETRY_SECONDS,
    Account,
    Admission,
    HistoryChange,
    Key,
    Outcome,
    Secret,
    Settlement,
    Standing,
    Use,
    UseResult,
)
from calpow.handler.ledger.sqlite_file import Row, SqliteFile, Value
from calpow.handler.ledger.sqlite_schema import SCHEMA

_FIND_KEY = "SELECT account, digest FROM keys WHERE id = ? AND revoked IS NULL"
_LIST_KEYS = "SELECT id, account, created, revoked FROM keys ORDER BY created, id"
_ADD_KEY = "INSERT INTO keys (id, digest, account, created) VALUES (?, ?, ?, ?)"
_REVOKE_KEY = "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?"

_ACCOUNT = """SELECT cost_micro, queries, wealth, digests, sketches, owed, version
    FROM accounts WHERE model = ? AND account = ?"""
_CHANGE_ACCOUNT = """UPDATE accounts SET cost_micro = ?, queries = ?, wealth = ?, digests = ?, sketches = ?, owed = ?,
        version = version + 1 WHERE model = ? AND account = ? AND version = ?"""
_ADD_ACCOUNT = "INSERT OR IGNORE INTO accounts VALUES (?, ?, 0, 0, 0, 0, 0, 0, x'', x'', x'')"
_FAILURES = "SELECT failures, failing_since FROM accounts WHERE model = ? AND account = ?"
_SET_FAILURES = """INSERT INTO accounts VALUES (?, ?, 0, 0, 0, 0, ?, ?, x'', x'', x'')
    ON CONFLICT DO UPDATE SET failures = excluded.failures, failing_since = excluded.failing_since"""

# Ids are passed as one JSON list, so that the text of a statement is the same for any number of them.
_STANDING = """SELECT NULL, cost_micro, queries, wealth, digests, sketches, owed, version
        FROM accounts WHERE model = ? AND account = ?
    UNION ALL SELECT uses.id, outcomes.solution, digest, settled, price, work, rest, credit
        FROM json_each(?) JOIN uses ON uses.id = value JOIN outcomes ON outcomes.solution = uses.solution"""
# An id is spent once the solution that used it last has an outcome. Ids are written when they are used, and a
# settlement adds the outcome alone.
_STATE = """SELECT coalesce(max(uses), 0), count(outcomes.solution), min(outcomes.solution), max(outcomes.solution)
    FROM json_each(?) JOIN uses ON uses.id = value LEFT JOIN outcomes ON outcomes.solution = uses.solution"""
_USES = """SELECT coalesce(sum(uses.solution = ?), 0), count(outcomes.solution),
        coalesce(min(uses.expires), 0), coalesce(max(uses.expires), 0)
    FROM json_each(?) JOIN uses ON uses.id = value LEFT JOIN outcomes ON outcomes.solution = uses.solution"""
_SPENT_OF = """SELECT uses.id
    FROM json_each(?) JOIN uses ON uses.id = value JOIN outcomes ON outcomes.solution = uses.solution"""
_FIRST_USE = "INSERT INTO uses SELECT value, 1, ?, ? FROM json_each(?)"
_COUNT_USE = """INSERT INTO uses VALUES (?, 1, ?, ?) ON CONFLICT DO UPDATE
    SET uses = uses + 1, solution = excluded.solution, expires = max(expires, excluded.expires)"""
_COUNT_REPEAT = "UPDATE uses SET uses = uses + 1 WHERE id = ?"
_SPEND = """INSERT INTO uses VALUES (?, 1, ?, ?)
    ON CONFLICT DO UPDATE SET solution = excluded.solution, expires = max(expires, excluded.expires)"""
_OUTCOME = "SELECT solution, digest, settled, price, work, rest, credit FROM outcomes WHERE solution = ?"
_SET_OUTCOME = "REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_KEEP_OUTCOME = "UPDATE outcomes SET expires = max(expires, ?) WHERE solution = ?"

# Up to two expired rows are deleted for each row that may be added, so that they do not accumulate. There is no margin
# here: it is part of the `expires` that the caller passes.
_PURGED_PER_ROW = 2
_NEXT_EXPIRY = """SELECT min(
    coalesce((SELECT min(expires) FROM uses), 1e999), coalesce((SELECT min(expires) FROM outcomes), 1e999))"""
_PURGE_USES = "DELETE FROM uses WHERE id IN (SELECT id FROM uses WHERE expires <= ? ORDER BY expires LIMIT ?)"
_PURGE_OUTCOMES = """DELETE FROM outcomes
    WHERE solution IN (SELECT solution FROM outcomes WHERE expires <= ? ORDER BY expires LIMIT ?)"""


class SqliteLedger:
    """A `Ledger` in the SQLite file at an absolute path."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, SCHEMA)
        self._next_expiry = 0.0

    def deployment(self) -> str:
        """Return the name of this deployment."""
        return str(self._file.query("SELECT id FROM deployment")[0][0])

    def secrets(self) -> tuple[Secret, ...]:
        """Return the signing secrets, oldest first."""
        return tuple(Secret(*row) for row in self._file.query("SELECT id, value FROM secrets ORDER BY rowid"))

    def add_key(self, account: str) -> str:
        """Create a key and return it in clear."""
        check_account(account)
        key = ApiKey.generate()
        with self._file.writing(durable=True) as connection:
            connection.execute(_ADD_KEY, (key.id, key.digest, account, time.time()))
        return key.text

    def keys(self) -> tuple[Key, ...]:
        """Return all keys, oldest first."""
        return tuple(Key(*row) for row in self._file.query(_LIST_KEYS))

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key."""
        with self._file.writing(durable=True) as connection:
            known = key_id.isascii() and connection.execute(_REVOKE_KEY, (time.time(), key_id)).rowcount
        if not known:
            raise LedgerError(f"there is no key {key_id!r} in this ledger: `calpow keys list` shows those there are")

    def account_of(self, key: str) -> str | None:
        """Return the account of a key, or None."""
        presented = ApiKey.read(key)
        if presented is None:
            return None
        for account, digest in self._file.query(_FIND_KEY, (presented.id,)):
            if presented.matches(digest):
                return str(account)
        return None

    def account(self, model: str, account: str) -> Account:
        """Return the state of an account."""
        return _account(self._file.query(_ACCOUNT, (model, account)))

    def standing(self, model: str, account: str, ids: Sequence[str]) -> Standing:
        """Return the state of an account and the outcomes of those of the ids that are spent."""
        state = NEW_ACCOUNT
        outcomes = {}
        for name, *row in self._file.query(_STANDING, (model, account, json.dumps(list(ids)))):
            if name is None:
                state = _account([tuple(row)])
            else:
                outcomes[name] = _read_outcome(tuple(row))
        return Standing(state, outcomes)

    def admit(self, uses: Sequence[Use], *, now: float) -> list[UseResult]:
        """Count uses and return for each whether its request may run."""
        if not uses:
            return []
        with self._file.writing(durable=False) as connection:
            self._purge(connection, uses, now)
            return [_admit(connection, use, now) for use in uses]

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Change accounts and spend ids, and return for each settlement whether it was written."""
        if not settlements:
            return []
        with self._file.writing(durable=False) as connection:
            return [_settle(connection, model, settlement) for settlement in settlements]

    def fail(self, model: str, account: str, ids: Sequence[str], *, expires: float, now: float) -> None:
        """Count a failure of the victim on a request that these ids paid for."""
        with self._file.writing(durable=False) as connection:
            failures, since = _first(connection, _FAILURES, (model, account)) or (0, 0)
            if now - since > FAILURE_SECONDS:
                failures, since = 0, now
            connection.execute(_SET_FAILURES, (model, account, failures + 1, since))
            if failures < MOST_FAILURES:
                return
            spent = {name for (name,) in connection.execute(_SPENT_OF, (json.dumps(list(ids)),))}
            good = [name for name in ids if name not in spent]
            if good:
                # No use has this name: a solution's name is a digest, which holds no colon.
                failed = Outcome(f"failed:{good[0]}", "", now, 0, 0, 0)
                _spend(connection, good, _uses(connection, failed.solution, good), failed, expires)

    def charge(self, model: str, changes: Mapping[str, HistoryChange]) -> None:
        """Change the histories of accounts for answers that were given without payment."""
        if not changes:
            return
        with self._file.writing(durable=False) as connection:
            for account, change in changes.items():
                before = _account(connection.execute(_ACCOUNT, (model, account)))
                _change_account(connection, model, account, before.version, change(before.history), before.owed)

    def _purge(self, connection: sqlite3.Connection, uses: Sequence[Use], now: float) -> None:
        """Delete some of what has expired, unless nothing has that this process knows of, and note when `uses` will."""
        if self._next_expiry <= now:
            ids = _PURGED_PER_ROW * sum(len(use.ids) for use in uses)
            outcomes = _PURGED_PER_ROW * len(uses)
            deleted = connection.execute(_PURGE_USES, (now, ids)).rowcount
            if connection.execute(_PURGE_OUTCOMES, (now, outcomes)).rowcount < outcomes and deleted < ids:
                (self._next_expiry,) = connection.execute(_NEXT_EXPIRY).fetchone()
        self._next_expiry = min(self._next_expiry, *(use.expires for use in uses))


def _admit(connection: sqlite3.Connection, use: Use, now: float) -> UseResult:
    withheld = None
    if use.withheld is not None:
        withheld = _outcome(connection, use.withheld)
        if withheld is None or withheld.rest <= 0 or withheld.digest != use.digest:
            return UseResult(Admission.MISMATCH)
    ids = json.dumps(use.ids)
    if withheld is None and _is_first(connection, use, ids):
        return UseResult(Admission.FRESH)
    used, spent, first, last = connection.execute(_STATE, (ids,)).fetchone()
    if spent == 0:
        if used >= MOST_USES:
            return UseResult(Admission.EXHAUSTED)
        connection.executemany(_COUNT_USE, [(name, use.solution, use.expires) for name in use.ids])
        if withheld is not None:  # A retry of this use needs it again.
            connection.execute(_KEEP_OUTCOME, (use.expires, withheld.solution))
        return UseResult(Admission.FRESH, withheld=withheld)
    outcome = _outcome(connection, use.solution) if spent == len(use.ids) and first == last == use.solution else None
    if outcome is None or outcome.digest != use.digest or now - outcome.settled > RETRY_SECONDS:
        return UseResult(Admission.SPENT)
    if outcome.rest == 0:
        if used >= MOST_USES:
            return UseResult(Admission.EXHAUSTED)
        connection.executemany(_COUNT_REPEAT, [(name,) for name in use.ids])
    return UseResult(Admission.REPEAT, outcome, withheld)


def _is_first(connection: sqlite3.Connection, use: Use, ids: str) -> bool:
    """Count a use whose ids, a JSON list, are all unknown, and return True; return False if one of them is known."""
    try:
        connection.execute(_FIRST_USE, (use.solution, use.expires, ids))
    except sqlite3.IntegrityError:
        return False
    return True


def _settle(connection: sqlite3.Connection, model: str, settlement: Settlement) -> bool:
    spendings = settlement.spendings
    ids = [name for spending in spendings for name in spending.ids]
    if len(set(ids)) != len(ids):
        return False
    uses = [_uses(connection, spending.outcome.solution, spending.ids) for spending in spendings]
    if any(counted.spent for counted in uses):
        return False
    account, before, history, owed = settlement.account, settlement.before, settlement.history, settlement.owed
    if not _change_account(connection, model, account, before, history, owed):
        return False
    for spending, counted in zip(spendings, uses, strict=True):
        _spend(connection, spending.ids, counted, spending.outcome, spending.expires)
    return True


class _Uses(NamedTuple):
    """Some ids: how many a solution used last, how many are spent, and their earliest and latest expiry."""

    last: int
    spent: int
    earliest: float
    latest: float


def _uses(connection: sqlite3.Connection, solution: str, ids: Sequence[str]) -> _Uses:
    return _Uses(*connection.execute(_USES, (solution, json.dumps(ids))).fetchone())


def _spend(connection: sqlite3.Connection, ids: Sequence[str], uses: _Uses, outcome: Outcome, expires: float) -> None:
    expires = max(expires, uses.latest)  # An outcome is remembered as long as its ids.
    if uses.last < len(ids) or uses.earliest < expires:
        connection.executemany(_SPEND, [(name, outcome.solution, expires) for name in ids])
    work = (outcome.price, outcome.work, outcome.rest)
    row = (outcome.solution, outcome.digest, outcome.settled, *work, _packed(outcome.credit), expires)
    connection.execute(_SET_OUTCOME, row)


def _outcome(connection: sqlite3.Connection, solution: str) -> Outcome | None:
    row = _first(connection, _OUTCOME, (solution,))
    return _read_outcome(row) if row else None


def _read_outcome(row: Row) -> Outcome:
    solution, digest, settled, price, work, rest, credit = row
    return Outcome(solution, digest, settled, price, work, rest, _unpacked(credit))


def _account(rows: Iterable[Row]) -> Account:
    for cost_micro, queries, wealth, digests, sketches, owed, version in rows:
        return Account(History(cost_micro, queries, _unpacked(wealth), digests, sketches), owed, version)
    return NEW_ACCOUNT


def _change_account(
    connection: sqlite3.Connection, model: str, name: str, before: int, history: History, owed: int
) -> bool:
    """Change an account from its version `before` to the next, and return whether it still had that version."""
    if not before:
        connection.execute(_ADD_ACCOUNT, (model, name))
    past = (history.cost_micro, history.queries, _packed(history.wealth), history.digests, history.sketches)
    return connection.execute(_CHANGE_ACCOUNT, (*past, owed, model, name, before)).rowcount == 1


def _packed(numbers: Sequence[int]) -> bytes:
    """Return signed integers of 64 bits in one value. Raises OverflowError for larger ones, as sqlite3 does."""
    try:
        return struct.pack(f"<{len(numbers)}q", *numbers)
    except struct.error as error:
        raise OverflowError(str(error)) from error


def _unpacked(value: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(value) // 8}q", value)


def _first(connection: sqlite3.Connection, sql: str, parameters: Sequence[Value]) -> Row | None:
    row: Row | None = connection.execute(sql, parameters).fetchone()
    return row
