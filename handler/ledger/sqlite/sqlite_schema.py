"""The tables of the SQLite ledger, their version, and the upgrades from earlier versions."""

import secrets
import sqlite3

from calpow.handler.ledger.sqlite.sqlite_file import Schema

APPLICATION_ID = 0x43504F57  # "CPOW"

# `wealth` and `credit` hold signed integers of 64 bits. A row of `accounts` is written with every answer: it fits into
# one page where the table has row ids, and not otherwise. A row of `old_samples` takes four pages, and is written once
# in history.RECENT answers.
_ACCOUNTS = (
    """CREATE TABLE accounts (
        model TEXT, account TEXT,
        cost_micro INTEGER NOT NULL, queries INTEGER NOT NULL, owed INTEGER NOT NULL, version INTEGER NOT NULL,
        failures INTEGER NOT NULL, failing_since REAL NOT NULL,
        wealth BLOB NOT NULL, new_digests BLOB NOT NULL, new_sketches BLOB NOT NULL,
        PRIMARY KEY (model, account)
    )""",
    """CREATE TABLE old_samples (
        model TEXT, account TEXT, digests BLOB NOT NULL, sketches BLOB NOT NULL, PRIMARY KEY (model, account)
    ) WITHOUT ROWID""",
)
# Since version 7: samples that were answered, in all and on one day. Columns are added, also to a new file, so that an
# upgraded one has the same tables, and that one that is frozen stays so (sqlite_freeze.py).
_USAGE = tuple(
    f"ALTER TABLE accounts ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0" for column in ("answered", "day", "today")
)
# Of version 3, to which version 2 is upgraded first.
_ACCOUNTS_3 = """CREATE TABLE accounts (
        model TEXT, account TEXT,
        cost_micro INTEGER NOT NULL, queries INTEGER NOT NULL, owed INTEGER NOT NULL, version INTEGER NOT NULL,
        failures INTEGER NOT NULL, failing_since REAL NOT NULL,
        wealth BLOB NOT NULL, digests BLOB NOT NULL, sketches BLOB NOT NULL,
        PRIMARY KEY (model, account)
    ) WITHOUT ROWID"""
# Of version 2, to which version 1 is upgraded first.
_ACCOUNTS_2 = """CREATE TABLE accounts (
        model TEXT, account TEXT,
        cost_micro INTEGER NOT NULL, excess_micro INTEGER NOT NULL, queries INTEGER NOT NULL,
        owed INTEGER NOT NULL, version INTEGER NOT NULL, failures INTEGER NOT NULL, failing_since REAL NOT NULL,
        PRIMARY KEY (model, account)
    ) WITHOUT ROWID"""
_OUTCOMES_2 = """CREATE TABLE outcomes (
        solution TEXT PRIMARY KEY, digest TEXT NOT NULL, settled REAL NOT NULL,
        price INTEGER NOT NULL, work INTEGER NOT NULL, rest INTEGER NOT NULL, expires REAL NOT NULL
    ) WITHOUT ROWID"""
# `solution` is the last one that used an id. The id is spent if that has an outcome. Times of expiry have no index: one
# more page would be written for every row, and rows are looked through anyway, see ExpiredRows.
_USES = """CREATE TABLE uses (
        id TEXT PRIMARY KEY, uses INTEGER NOT NULL, solution TEXT, expires REAL NOT NULL
    ) WITHOUT ROWID"""
_OUTCOMES = """CREATE TABLE outcomes (
        solution TEXT PRIMARY KEY, digest TEXT NOT NULL, settled REAL NOT NULL,
        price INTEGER NOT NULL, work INTEGER NOT NULL, rest INTEGER NOT NULL,
        credit BLOB NOT NULL, expires REAL NOT NULL
    ) WITHOUT ROWID"""
_KEYS_EXPIRE = "ALTER TABLE keys ADD COLUMN expires REAL"
_RULES = "CREATE TABLE rules (account TEXT PRIMARY KEY, rule TEXT NOT NULL) WITHOUT ROWID"
# `limits` is a JSON list, of which every request reads one value instead of five.
_LIMITS = "CREATE TABLE limits (account TEXT PRIMARY KEY, limits TEXT NOT NULL) WITHOUT ROWID"
_MODES = "CREATE TABLE modes (model TEXT PRIMARY KEY, mode TEXT NOT NULL) WITHOUT ROWID"
_TABLES = (
    "CREATE TABLE deployment (id TEXT NOT NULL)",
    "CREATE TABLE secrets (id TEXT NOT NULL UNIQUE, value BLOB NOT NULL)",
    """CREATE TABLE keys (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL, account TEXT NOT NULL, created REAL NOT NULL, revoked REAL
    ) WITHOUT ROWID""",
    _KEYS_EXPIRE,  # as in an upgraded file, so that both have the same tables
    _RULES,
    _LIMITS,
    _MODES,
    *_ACCOUNTS,
    *_USAGE,
    _USES,
    _OUTCOMES,
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
    for table in (_ACCOUNTS_2, _USES, _OUTCOMES_2):
        connection.execute(table)
    connection.execute(
        "INSERT INTO accounts SELECT model, account, cost_micro, excess_micro, queries, 0, 1, 0, 0 FROM old_accounts"
    )
    for table in ("old_accounts", "challenges", "stamps"):
        connection.execute(f"DROP TABLE {table}")
    # Since version 2, ids of prepaid stamps are computed in another way, so stamps that were spent before cannot be
    # recognised. Stamps are bound to the deployment, so that a new name refuses all of them.
    connection.execute("UPDATE deployment SET id = ?", (secrets.token_hex(3),))


def _upgrade_from_2(connection: sqlite3.Connection) -> None:
    """Keep everything but the accounts' excess, which was the sum of another policy and says nothing about wealth.

    All accounts begin without wealth, at the floor, and with no sample that they were answered before.
    """
    for table in ("accounts", "outcomes"):
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    for table in (_ACCOUNTS_3, _OUTCOMES):
        connection.execute(table)
    connection.execute("""INSERT INTO accounts
        SELECT model, account, cost_micro, queries, owed, version, failures, failing_since, x'', x'', x''
        FROM old_accounts""")
    connection.execute("""INSERT INTO outcomes
        SELECT solution, digest, settled, price, work, rest, x'', expires FROM old_outcomes""")
    for table in ("old_accounts", "old_outcomes"):
        connection.execute(f"DROP TABLE {table}")


def _upgrade_from_3(connection: sqlite3.Connection) -> None:
    """Drop the indexes by time of expiry, and put the samples of accounts into a table of their own.

    They were in a ring: the next ones may replace some that are not the oldest.
    """
    for index in ("uses_expires", "outcomes_expires"):
        connection.execute(f"DROP INDEX IF EXISTS {index}")
    connection.execute("ALTER TABLE accounts RENAME TO old_accounts")
    for table in _ACCOUNTS:
        connection.execute(table)
    connection.execute("""INSERT INTO accounts
        SELECT model, account, cost_micro, queries, owed, version, failures, failing_since, wealth, x'', x''
        FROM old_accounts""")
    connection.execute("INSERT INTO old_samples SELECT model, account, digests, sketches FROM old_accounts")
    connection.execute("DROP TABLE old_accounts")


def _upgrade_from_4(connection: sqlite3.Connection) -> None:
    """Add the rules and modes of operators, of which there are none yet."""
    for table in (_RULES, _MODES):
        connection.execute(table)


def _upgrade_from_5(connection: sqlite3.Connection) -> None:
    """Add the time when a key expires; those of before do not expire."""
    connection.execute(_KEYS_EXPIRE)


def _upgrade_from_6(connection: sqlite3.Connection) -> None:
    """Add the limits of operators, of which there are none yet, and count samples from now on."""
    for statement in (_LIMITS, *_USAGE):
        connection.execute(statement)


_UPGRADES = {
    1: _upgrade_from_1,
    2: _upgrade_from_2,
    3: _upgrade_from_3,
    4: _upgrade_from_4,
    5: _upgrade_from_5,
    6: _upgrade_from_6,
}
SCHEMA = Schema(APPLICATION_ID, 7, _create, _UPGRADES)
