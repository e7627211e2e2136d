"""The tables of the SQLite ledger, their version, and the upgrades from earlier versions."""

import secrets
import sqlite3

from calpow.handler.ledger.sqlite_file import Schema

APPLICATION_ID = 0x43504F57  # "CPOW"

_ACCOUNTS = """CREATE TABLE accounts (
        model TEXT, account TEXT,
        cost_micro INTEGER NOT NULL, excess_micro INTEGER NOT NULL, queries INTEGER NOT NULL,
        owed INTEGER NOT NULL, version INTEGER NOT NULL, failures INTEGER NOT NULL, failing_since REAL NOT NULL,
        PRIMARY KEY (model, account)
    ) WITHOUT ROWID"""
# `solution` of an id is NULL until it is spent.
_SPENT_TABLES = (
    """CREATE TABLE uses (
        id TEXT PRIMARY KEY, uses INTEGER NOT NULL, solution TEXT, expires REAL NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE outcomes (
        solution TEXT PRIMARY KEY, digest TEXT NOT NULL, settled REAL NOT NULL,
        price INTEGER NOT NULL, work INTEGER NOT NULL, rest INTEGER NOT NULL, expires REAL NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX uses_expires ON uses (expires)",
    "CREATE INDEX outcomes_expires ON outcomes (expires)",
)
_TABLES = (
    "CREATE TABLE deployment (id TEXT NOT NULL)",
    "CREATE TABLE secrets (id TEXT NOT NULL UNIQUE, value BLOB NOT NULL)",
    """CREATE TABLE keys (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL, account TEXT NOT NULL, created REAL NOT NULL, revoked REAL
    ) WITHOUT ROWID""",
    _ACCOUNTS,
    *_SPENT_TABLES,
)


def _create(connection: sqlite3.Connection) -> None:
    for table in _TABLES:
        connection.execute(table)
    connection.execute("INSERT INTO deployment VALUES (?)", (secrets.token_hex(3),))
    connection.execute("INSERT INTO secrets VALUES (?, ?)", (secrets.token_hex(4), secrets.token_bytes(32)))


def _upgrade_from_1(connection: sqlite3.Connection) -> None:
    """Keep the keys, the secrets and the accounts' totals of a file of version 1, which stored challenges.

    Decision 0013.
    """
    connection.execute("ALTER TABLE accounts RENAME TO old_accounts")
    for table in (_ACCOUNTS, *_SPENT_TABLES):
        connection.execute(table)
    connection.execute(
        "INSERT INTO accounts SELECT model, account, cost_micro, excess_micro, queries, 0, 1, 0, 0 FROM old_accounts"
    )
    for table in ("old_accounts", "challenges", "stamps"):
        connection.execute(f"DROP TABLE {table}")
    # Since version 2, ids of prepaid stamps are computed in another way, so stamps that were spent before cannot be
    # recognised. Stamps are bound to the deployment, so that a new name refuses all of them.
    connection.execute("UPDATE deployment SET id = ?", (secrets.token_hex(3),))


SCHEMA = Schema(APPLICATION_ID, 2, _create, {1: _upgrade_from_1})
