"""Verification of a ledger in an SQLite file, which it only reads."""

import contextlib
import sqlite3
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calpow.archiver.errors import LedgerFileError
from calpow.archiver.ledger_care.inspection import (
    Inspection,
    account_faults,
    deployment_faults,
    key_faults,
    mode_faults,
    rule_faults,
)
from calpow.archiver.progress import announce, track
from calpow.handler.ledger.history import History
from calpow.handler.ledger.holders import KeyRecord
from calpow.handler.ledger.solutions import MOST_USES
from calpow.handler.ledger.sqlite.sqlite_freeze import is_frozen
from calpow.handler.ledger.sqlite.sqlite_schema import SCHEMA

_PATIENCE_SECONDS = 5.0
# Problems that SQLite lists of a damaged file before it stops.
_MOST_PROBLEMS = 20
_NUMBER = struct.Struct("<q")

_KEYS = "SELECT id, digest, account, created, revoked, expires FROM keys"
_ACCOUNTS = """SELECT model, account, cost_micro, queries, wealth, digests, sketches, new_digests, new_sketches, version
    FROM accounts LEFT JOIN old_samples USING (model, account) ORDER BY model, account"""
_FAULTY_ROWS = {
    "samples belong to an account that is not there": """SELECT old_samples.account FROM old_samples
        LEFT JOIN accounts USING (model, account) WHERE accounts.account IS NULL""",
    "an id has an impossible number of uses": "SELECT id FROM uses WHERE uses NOT BETWEEN 1 AND :most",
    "a solution has negative work": "SELECT solution FROM outcomes WHERE price < 0 OR work < 0 OR rest < 0",
    "a spent id is remembered longer than its solution, and could be spent again": """SELECT uses.id
        FROM uses JOIN outcomes USING (solution) WHERE uses.expires > outcomes.expires""",
    "a spent solution has lost its ids, which could be spent again": """SELECT solution FROM outcomes
        WHERE expires > :now AND solution NOT IN (SELECT solution FROM uses WHERE solution IS NOT NULL)""",
}
_COUNTS = {
    "keys": "SELECT count(*) FROM keys",
    "valid keys": "SELECT count(*) FROM keys WHERE revoked IS NULL AND (expires IS NULL OR expires > :now)",
    "rules": "SELECT count(*) FROM rules",
    "accounts": "SELECT count(*) FROM accounts WHERE version > 0",
    "samples": "SELECT coalesce(sum(queries), 0) FROM accounts",
    "ids": "SELECT count(*) FROM uses",
    "expired ids": "SELECT count(*) FROM uses WHERE expires <= :now",
    "spent solutions": "SELECT count(*) FROM outcomes",
    "signing secrets": "SELECT count(*) FROM secrets",
}


def inspect_sqlite(path: Path) -> Inspection:
    """Return what is in a file and what is wrong with it, as it is at one time; workers may go on meanwhile.

    Raises LedgerFileError where there is no ledger.
    """
    with reading(path) as connection:
        inspection = Inspection()
        if path.stat().st_mode & 0o077:
            inspection.find(f"others can read or write the file, which holds secrets: chmod 600 {path}")
        try:
            connection.execute("BEGIN")
            if is_frozen(connection):
                inspection.notes.append("the file refuses changes, since `calpow ledger move`")
            _check_file(connection, inspection)
            if _is_whole(connection):
                _check_rows(connection, inspection)
        except sqlite3.Error as error:
            inspection.find(f"the file cannot be read to its end ({error})")
        return inspection


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a ledger that can only read. Raises LedgerFileError where there is no ledger."""
    if not path.exists():
        raise LedgerFileError(f"there is no ledger {path}")
    if path.is_dir():
        raise LedgerFileError(f"{path} is a folder: name the ledger's file in it")
    # SQLite keeps two files beside a database that is open, and removes them when the last connection closes that may
    # write. Where another process has them, they are its own; otherwise they are removed here.
    mode = "ro" if Path(f"{path}-wal").exists() else "rw"
    with contextlib.closing(
        sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=_PATIENCE_SECONDS, isolation_level=None)
    ) as connection:
        try:
            connection.execute("PRAGMA query_only = ON")
            (application,) = connection.execute("PRAGMA application_id").fetchone()
        except sqlite3.Error as error:
            raise LedgerFileError(f"{path} cannot be read as a ledger: {error}") from error
        if application != SCHEMA.application:
            raise LedgerFileError(f"{path} is no ledger of Calpow")
        yield connection


def _check_file(connection: sqlite3.Connection, inspection: Inspection) -> None:
    """Check what SQLite knows of the file, and its tables."""
    announce("reads the whole file")
    for (problem,) in connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})"):
        if problem != "ok":
            inspection.find("the file is damaged", " ".join(str(problem).split()))
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA.version:
        inspection.find(f"the file has schema {version}, and this version of Calpow reads {SCHEMA.version}")
    elif not _is_whole(connection):
        inspection.find("tables or columns are missing, or are not Calpow's")


def _is_whole(connection: sqlite3.Connection) -> bool:
    """Return whether the file has the tables of this version."""
    with contextlib.closing(sqlite3.connect(":memory:")) as new:
        SCHEMA.create(new)
        return _tables(connection) == _tables(new)


def _tables(connection: sqlite3.Connection) -> dict[str, set[tuple[Any, ...]]]:
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: set(connection.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,)))
        for name in names
        if not name.startswith("sqlite_")
    }


def _check_rows(connection: sqlite3.Connection, inspection: Inspection) -> None:
    values = {"now": time.time(), "most": MOST_USES}
    for name, count in _COUNTS.items():
        (inspection.counts[name],) = connection.execute(count, values).fetchone()
    names = [str(name) for (name,) in connection.execute("SELECT id FROM deployment")]
    secrets = [bytes(value) for (value,) in connection.execute("SELECT value FROM secrets")]
    for fault in deployment_faults(names, secrets):
        inspection.find(fault)
    for row in connection.execute(_KEYS):
        inspection.find_all(key_faults(KeyRecord(*row)), row[0])
    for account, rule in connection.execute("SELECT account, rule FROM rules"):
        inspection.find_all(rule_faults(rule), account)
    for model, mode in connection.execute("SELECT model, mode FROM modes"):
        inspection.find_all(mode_faults(mode), model)
    for fault, rows in _FAULTY_ROWS.items():
        for (name,) in connection.execute(rows, values):
            inspection.find(fault, str(name))
    for row in track(connection.execute(_ACCOUNTS), "accounts", "account", inspection.counts["accounts"]):
        model, account, cost_micro, queries, wealth, digests, sketches, *new, version = row
        where = f"{account} of {model}"
        if len(wealth) % _NUMBER.size:
            inspection.find("an account's bets are cut off", where)
            continue
        history = History(
            cost_micro, queries, struct.unpack(f"<{len(wealth) // 8}q", wealth), digests or b"", sketches or b"", *new
        )
        inspection.find_all(account_faults(history, version), where)
