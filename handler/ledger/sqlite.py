"""The ledger of one machine: an SQLite file that all its workers share.

What `settle` and the methods for keys write is on the disk before they return
(https://www.sqlite.org/pragma.html#pragma_synchronous). What `admit`, `fail` and `charge` write is visible to the other
processes at once, but a power failure may lose the last of it: some uses and failures are then not counted, and nothing
was sold for the charges. Decision 0011.
"""

import json
import sqlite3
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

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
_SET_ACCOUNT = """INSERT INTO accounts (model, account, cost_micro, queries, wealth, digests, sketches, owed, version,
        failures, failing_since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)
    ON CONFLICT DO UPDATE SET cost_micro = excluded.cost_micro, queries = excluded.queries, wealth = excluded.wealth,
        digests = excluded.digests, sketches = excluded.sketches, owed = excluded.owed, version = excluded.version"""
_FAILURES = "SELECT failures, failing_since FROM accounts WHERE model = ? AND account = ?"
_SET_FAILURES = """INSERT INTO accounts VALUES (?, ?, 0, 0, 0, 0, ?, ?, x'', x'', x'')
    ON CONFLICT DO UPDATE SET failures = excluded.failures, failing_since = excluded.failing_since"""

# Ids are passed as one JSON list, so that the text of a statement is the same for any number of them.
_STANDING = """SELECT NULL, cost_micro, queries, wealth, digests, sketches, owed, version
        FROM accounts WHERE model = ? AND account = ?
    UNION ALL SELECT uses.id, outcomes.solution, digest, settled, price, work, rest, credit
        FROM json_each(?) JOIN uses ON uses.id = value JOIN outcomes ON outcomes.solution = uses.solution"""
_STATE = """SELECT coalesce(max(uses), 0), count(solution), min(solution), max(solution)
    FROM json_each(?) JOIN uses ON uses.id = value"""
_LATEST = "SELECT coalesce(max(expires), 0) FROM json_each(?) JOIN uses ON uses.id = value"
_SPENT_OF = "SELECT uses.id FROM json_each(?) JOIN uses ON uses.id = value WHERE solution IS NOT NULL"
_COUNT_USE = """INSERT INTO uses VALUES (?, 1, NULL, ?)
    ON CONFLICT DO UPDATE SET uses = uses + 1, expires = max(expires, excluded.expires)"""
_COUNT_REPEAT = "UPDATE uses SET uses = uses + 1 WHERE id = ?"
_SPEND = """INSERT INTO uses VALUES (?, 1, ?, ?)
    ON CONFLICT DO UPDATE SET solution = excluded.solution, expires = max(expires, excluded.expires)"""
_OUTCOME = "SELECT solution, digest, settled, price, work, rest, credit FROM outcomes WHERE solution = ?"
_SET_OUTCOME = "REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_KEEP_OUTCOME = "UPDATE outcomes SET expires = max(expires, ?) WHERE solution = ?"

# Up to two expired rows are deleted for each row that may be added, so that they do not accumulate. There is no margin
# here: it is part of the `expires` that the caller passes.
_PURGED_PER_ROW = 2
_PURGE_USES = "DELETE FROM uses WHERE id IN (SELECT id FROM uses WHERE expires <= ? ORDER BY expires LIMIT ?)"
_PURGE_OUTCOMES = """DELETE FROM outcomes
    WHERE solution IN (SELECT solution FROM outcomes WHERE expires <= ? ORDER BY expires LIMIT ?)"""


class SqliteLedger:
    """A `Ledger` in the SQLite file at an absolute path."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, SCHEMA)

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
            _purge(connection, now, sum(len(use.ids) for use in uses), len(uses))
            return [_admit(connection, use, now) for use in uses]

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Change accounts and spend ids, and return for each settlement whether it was written."""
        if not settlements:
            return []
        spendings = [spending for settlement in settlements for spending in settlement.spendings]
        with self._file.writing(durable=True) as connection:
            _purge(connection, now, sum(len(spending.ids) for spending in spendings), len(spendings))
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
                _spend(connection, good, Outcome(f"failed:{good[0]}", "", now, 0, 0, 0), expires)

    def charge(self, model: str, changes: Mapping[str, HistoryChange]) -> None:
        """Change the histories of accounts for answers that were given without payment."""
        if not changes:
            return
        with self._file.writing(durable=False) as connection:
            for account, change in changes.items():
                before = _account(connection.execute(_ACCOUNT, (model, account)))
                after = Account(change(before.history), before.owed, before.version + 1)
                _set_account(connection, model, account, after)


def _purge(connection: sqlite3.Connection, now: float, ids: int, outcomes: int) -> None:
    connection.execute(_PURGE_USES, (now, _PURGED_PER_ROW * ids))
    connection.execute(_PURGE_OUTCOMES, (now, _PURGED_PER_ROW * outcomes))


def _admit(connection: sqlite3.Connection, use: Use, now: float) -> UseResult:
    withheld = None
    if use.withheld is not None:
        withheld = _outcome(connection, use.withheld)
        if withheld is None or withheld.rest <= 0 or withheld.digest != use.digest:
            return UseResult(Admission.MISMATCH)
    used, spent, first, last = connection.execute(_STATE, (json.dumps(use.ids),)).fetchone()
    if spent == 0:
        if used >= MOST_USES:
            return UseResult(Admission.EXHAUSTED)
        connection.executemany(_COUNT_USE, [(name, use.expires) for name in use.ids])
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


def _settle(connection: sqlite3.Connection, model: str, settlement: Settlement) -> bool:
    before = _account(connection.execute(_ACCOUNT, (model, settlement.account)))
    if before.version != settlement.before:
        return False
    ids = [name for spending in settlement.spendings for name in spending.ids]
    if len(set(ids)) != len(ids) or connection.execute(_STATE, (json.dumps(ids),)).fetchone()[1]:
        return False
    after = Account(settlement.history, settlement.owed, before.version + 1)
    _set_account(connection, model, settlement.account, after)
    for spending in settlement.spendings:
        _spend(connection, spending.ids, spending.outcome, spending.expires)
    return True


def _spend(connection: sqlite3.Connection, ids: Sequence[str], outcome: Outcome, expires: float) -> None:
    (latest,) = connection.execute(_LATEST, (json.dumps(ids),)).fetchone()
    expires = max(expires, latest)  # An outcome is remembered as long as its ids.
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


def _set_account(connection: sqlite3.Connection, model: str, name: str, account: Account) -> None:
    past = account.history
    history = (past.cost_micro, past.queries, _packed(past.wealth), past.digests, past.sketches)
    connection.execute(_SET_ACCOUNT, (model, name, *history, account.owed, account.version))


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
