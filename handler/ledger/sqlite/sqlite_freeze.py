"""A freeze of an SQLite ledger: the file itself refuses every change, whichever process asks for it.

Triggers do, so that a worker that has had the file open for days is refused in its next transaction. Decision 0061.
"""

import sqlite3

from calpow.handler.ledger.sqlite.sqlite_file import SqliteFile

_PREFIX = "frozen"
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
_TRIGGERS = f"SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '{_PREFIX}~_%' ESCAPE '~'"  # noqa: S608


def freeze(file: SqliteFile, reason: str) -> bool:
    """Refuse every change from now on, with a reason, and return True. What was committed before stays.

    Return False for a file that is frozen already, which stays as it is. Raises LedgerUnavailable.
    """
    quoted = reason.replace("'", "''")

    def freeze_tables(connection: sqlite3.Connection) -> bool:
        if is_frozen(connection):
            return False
        for (table,) in connection.execute(_TABLES).fetchall():
            for change in ("INSERT", "UPDATE", "DELETE"):
                connection.execute(
                    f"CREATE TRIGGER {_PREFIX}_{table}_{change} BEFORE {change} ON {table}"
                    f" BEGIN SELECT RAISE(ABORT, '{quoted}'); END"
                )
        return True

    return file.write(freeze_tables, durable=True)


def thaw(file: SqliteFile) -> bool:
    """Take changes again, and return whether the file was frozen. Raises LedgerUnavailable."""
    return file.write(_thaw_tables, durable=True) > 0


def is_frozen(connection: sqlite3.Connection) -> bool:
    """Return whether the file of a connection refuses changes."""
    return connection.execute(_TRIGGERS).fetchone() is not None


def _thaw_tables(connection: sqlite3.Connection) -> int:
    """Drop the triggers, and return their number."""
    names = connection.execute(_TRIGGERS).fetchall()
    for (name,) in names:
        connection.execute(f"DROP TRIGGER {name}")
    return len(names)
