"""The part of the SQLite ledger that operators set: keys, secrets, rules, limits and modes.

Each change of it is on the disk when its method returns.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path

from calpow.handler.errors import LedgerError
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.api_key import ApiKey, check_account, check_new_account, group_of
from calpow.handler.ledger.holders import Key, KeyRecord, Secret
from calpow.handler.ledger.limits import NO_LIMITS, AccountLimits, read_limits
from calpow.handler.ledger.sqlite.sqlite_file import SqliteFile
from calpow.handler.ledger.sqlite.sqlite_schema import SCHEMA

_KEY_RECORDS = "SELECT id, digest, account, created, revoked, expires FROM keys ORDER BY created, id"
_RESTORE_KEY = "INSERT OR IGNORE INTO keys VALUES (?, ?, ?, ?, ?, ?)"
_ADD_SECRET = "INSERT INTO secrets VALUES (?, ?)"  # noqa: S105  # a statement
_DROP_OLD_SECRETS = """DELETE FROM secrets
    WHERE rowid NOT IN (SELECT rowid FROM secrets ORDER BY rowid DESC LIMIT 2)"""
GOOD_KEY = "SELECT account, digest FROM keys WHERE id = ? AND revoked IS NULL AND (expires IS NULL OR expires > ?)"
_LIST_KEYS = "SELECT id, account, created, revoked, expires FROM keys ORDER BY created, id"
_ADD_KEY = """INSERT INTO keys (id, digest, account, created, expires) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING"""
_REVOKE_KEY = "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?"

_RULES = "SELECT rule FROM rules WHERE account IN (?, ?)"
_LIST_RULES = "SELECT account, rule FROM rules ORDER BY account"
_SET_RULE = "REPLACE INTO rules VALUES (?, ?)"
_LIMITS = "SELECT limits FROM limits WHERE account = ?"
_LIST_LIMITS = "SELECT * FROM limits ORDER BY account"
_SET_LIMITS = "REPLACE INTO limits VALUES (?, ?)"
_DROP_LIMITS = "DELETE FROM limits WHERE account = ?"
_MODE = "SELECT mode FROM modes WHERE model = ?"
_LIST_MODES = "SELECT model, mode FROM modes ORDER BY model"
_SET_MODE = "REPLACE INTO modes VALUES (?, ?)"
_DROP_MODE = "DELETE FROM modes WHERE model = ?"


class SqliteSettings:
    """The part of the SQLite ledger at an absolute path that operators change."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, SCHEMA)

    def deployment(self) -> str:
        """Return the name of this deployment."""
        return str(self._file.query("SELECT id FROM deployment")[0][0])

    def secrets(self) -> tuple[Secret, ...]:
        """Return the signing secrets, oldest first."""
        return tuple(Secret(*row) for row in self._file.query("SELECT id, value FROM secrets ORDER BY rowid"))

    def add_key(self, account: str, expires: float | None = None) -> str:
        """Create a key and return it in clear."""
        check_new_account(account)
        key = ApiKey.generate()
        while not self._is_added(
            key, account, expires
        ):  # Of a million keys, one in 4,300 has the id of an earlier one.
            key = ApiKey.generate()
        return key.text

    def _is_added(self, key: ApiKey, account: str, expires: float | None) -> bool:
        """Add a key and return True; return False where another key has its id."""
        row = (key.id, key.digest, account, time.time(), expires)
        return self._file.write(lambda connection: connection.execute(_ADD_KEY, row), durable=True).rowcount == 1

    def keys(self) -> tuple[Key, ...]:
        """Return all keys, oldest first."""
        return tuple(Key(*row) for row in self._file.query(_LIST_KEYS))

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key."""
        row = (time.time(), key_id if key_id.isascii() else "")
        if not self._file.write(lambda connection: connection.execute(_REVOKE_KEY, row), durable=True).rowcount:
            raise LedgerError(f"there is no key {key_id!r} in this ledger: `calpow keys list` shows those there are")

    def key_records(self) -> tuple[KeyRecord, ...]:
        """Return all keys with their digests, oldest first."""
        return tuple(KeyRecord(*row) for row in self._file.query(_KEY_RECORDS))

    def restore_keys(self, records: Sequence[KeyRecord]) -> None:
        """Add keys of another ledger."""
        for record in records:
            check_account(record.account)
        self._file.write(lambda connection: connection.executemany(_RESTORE_KEY, records), durable=True)

    def rotate_secret(self) -> Secret:
        """Add a signing secret, and forget all others but the newest."""
        secret = Secret(secrets.token_hex(4), secrets.token_bytes(32))

        def rotate(connection: sqlite3.Connection) -> None:
            connection.execute(_ADD_SECRET, (secret.id, secret.value))
            connection.execute(_DROP_OLD_SECRETS)

        self._file.write(rotate, durable=True)
        return secret

    def account_of(self, key: str) -> str | None:
        """Return the account of a key, or None."""
        presented = ApiKey.read(key)
        if presented is None:
            return None
        for account, digest in self._file.query(GOOD_KEY, (presented.id, time.time())):
            if presented.matches(digest):
                return str(account)
        return None

    def rule(self, account: str) -> Rule:
        """Return the operator's rule for an account or its group."""
        rules = [Rule(rule) for (rule,) in self._file.query(_RULES, (account, group_of(account)))]
        return reduce(Rule.with_group, rules, Rule.PRICED)

    def rules(self) -> Mapping[str, Rule]:
        """Return the rules that operators have set, by account."""
        return {str(account): Rule(rule) for account, rule in self._file.query(_LIST_RULES)}

    def set_rule(self, account: str, rule: Rule) -> None:
        """Set the operator's rule for an account."""
        check_account(account)
        self._file.write(lambda connection: connection.execute(_SET_RULE, (account, rule.value)), durable=True)

    def limits_of(self, account: str) -> AccountLimits:
        """Return the limits that the operator has set for an account."""
        rows = self._file.query(_LIMITS, (account,))
        return read_limits(rows[0][0]) if rows else NO_LIMITS

    def limits(self) -> Mapping[str, AccountLimits]:
        """Return the limits that operators have set, by account."""
        return {str(account): read_limits(limits) for account, limits in self._file.query(_LIST_LIMITS)}

    def set_limits(self, account: str, limits: AccountLimits) -> None:
        """Set the limits of an account."""
        check_account(account)

        def change(connection: sqlite3.Connection) -> None:
            if limits == NO_LIMITS:
                connection.execute(_DROP_LIMITS, (account,))
            else:
                connection.execute(_SET_LIMITS, (account, json.dumps(limits)))

        self._file.write(change, durable=True)

    def check_store(self) -> None:
        """Do nothing: a file forgets nothing, and one that is gone is noticed by each call."""

    def mode(self, model: str) -> str | None:
        """Return the mode that an operator has set for a model, or None."""
        rows = self._file.query(_MODE, (model,))
        return str(rows[0][0]) if rows else None

    def set_mode(self, model: str, mode: str | None) -> None:
        """Set the mode of a model, or leave it to the archive."""

        def change(connection: sqlite3.Connection) -> None:
            if mode is None:
                connection.execute(_DROP_MODE, (model,))
            else:
                connection.execute(_SET_MODE, (model, mode))

        self._file.write(change, durable=True)

    def modes(self) -> Mapping[str, str]:
        """Return the modes that operators have set, by model."""
        return {str(model): str(mode) for model, mode in self._file.query(_LIST_MODES)}
