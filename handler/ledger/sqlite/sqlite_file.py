"""An SQLite file that many processes and threads share: opening, locking, and recovery from failures."""

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from calpow.handler.errors import LedgerUnavailable

Value = str | bytes | int | float | None
Row = tuple[Any, ...]  # the types depend on the SELECT
Result = TypeVar("Result")

# How long a caller waits for another process's transaction, and the interval between attempts. Eight processes that
# wrote continuously waited for 100 ms at most with these naps, and for 930 ms with SQLite's own busy handler, whose
# naps grow to 100 ms.
PATIENCE_SECONDS = 1.0
NAP_SECONDS = 0.001
# A power failure loses no transaction that was followed by another one this much later. To write through to a disk
# takes 0.1 to 4 ms, many times the rest of a transaction.
SYNC_SECONDS = 1.0
# Pages, of 4 KB, of the write-ahead log from which on they are copied to the database. Eight times SQLite's default
# takes three to four times as long, because pages that were written repeatedly are copied once. Decision 0051.
CHECKPOINT_PAGES = 8192


@dataclass(frozen=True, slots=True)
class Schema:
    """A database schema: its SQLite `application_id` and `user_version`, and a function that creates it.

    `upgrades` maps each earlier version to a function that changes a database of that version into one of the next.
    """

    application: int
    version: int
    create: Callable[[sqlite3.Connection], None]
    upgrades: Mapping[int, Callable[[sqlite3.Connection], None]]


class SqliteFile:
    """A database in WAL mode, opened at its first use and again after every failure.

    A process has one connection, since SQLite has one writer at a time anyway. Every failure is raised as
    LedgerUnavailable.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        self._path = path
        self._name = str(path)
        self._schema = schema
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._durable = True
        self._synced = float("-inf")
        _files.add(self)

    def __del__(self) -> None:
        self._close()

    def query(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return all rows of one SELECT."""
        return self.queries([(sql, parameters)])[0]

    def queries(self, selects: Iterable[tuple[str, Sequence[Value]]]) -> list[list[Row]]:
        """Return all rows of each of some SELECTs, given with their parameters."""
        with self as connection:
            return [_patiently(connection, sql, parameters).fetchall() for sql, parameters in selects]

    def write(self, operation: Callable[[sqlite3.Connection], Result], *, durable: bool) -> Result:
        """Run a function in one transaction, which is rolled back if it raises, and return its result.

        A committed transaction survives the end of this process. With `durable`, it and all earlier ones survive a
        power failure as well, and without it when the last ones that did are older than SYNC_SECONDS. Decision 0051.
        """
        with self as connection:
            now = time.monotonic()
            durable = durable or now - self._synced >= SYNC_SECONDS
            if durable != self._durable:
                _set_durable(connection, durable)
                self._durable = durable
            _patiently(connection, "BEGIN IMMEDIATE")
            try:
                result = operation(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            if durable:
                self._synced = now
            return result

    def close_for_fork(self) -> None:
        """Close the connection and keep other threads out, because it must not be carried into another process."""
        self._lock.acquire()
        self._close()

    def resume(self) -> None:
        """Let other threads in again."""
        self._lock.release()

    def __enter__(self) -> sqlite3.Connection:
        """Keep other threads out, and return the connection."""
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            raise LedgerUnavailable(f"the ledger {self._path} is busy with other threads: try again")
        try:
            return self._connection_to_this_file()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Let other threads in again. Raise LedgerUnavailable for a failure of the file, which is opened again then."""
        if error is None:
            self._lock.release()
            return
        try:
            if isinstance(error, sqlite3.Error | OSError | OverflowError):
                self._close()
                raise LedgerUnavailable(self._explain(error)) from error
            if isinstance(error, LedgerUnavailable):
                self._close()
        finally:
            self._lock.release()

    def _connection_to_this_file(self) -> sqlite3.Connection:
        if self._connection is None:
            return self._connect()
        # Without this check, a worker would continue to write into a file that was moved away or deleted.
        if _inode(self._name) != self._inode:
            raise LedgerUnavailable(f"the ledger {self._path} was replaced: the next attempt opens the new one")
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if self._inode is None:
            _create(self._path)
        inode = _inode(self._path)
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            _set_durable(connection, True)
            _patiently(connection, f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            self._make_or_check(connection)
            if _inode(self._path) != inode:
                raise LedgerUnavailable(f"the ledger {self._path} was replaced while it was opened: try again")
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode, self._durable = connection, inode, True
        return connection

    def _make_or_check(self, connection: sqlite3.Connection) -> None:
        new = _is_empty(connection)
        if not new and _number(connection, "PRAGMA application_id") != self._schema.application:
            raise LedgerUnavailable(f"{self._path} is another program's database: name another file for the ledger")
        if _patiently(connection, "PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise LedgerUnavailable(f"the ledger {self._path} cannot be shared there: put it on a local disk")
        if new:
            self._make(connection)
        version = _number(connection, "PRAGMA user_version")
        while version in self._schema.upgrades:
            self._upgrade(connection, version)
            version = _number(connection, "PRAGMA user_version")
        if version != self._schema.version:
            raise LedgerUnavailable(
                f"the ledger {self._path} has schema {version} and this version of Calpow reads"
                f" {self._schema.version}: use the version that made it, or name another file"
            )

    def _make(self, connection: sqlite3.Connection) -> None:
        _patiently(connection, "BEGIN IMMEDIATE")
        if _is_empty(connection):  # Another process may have been faster.
            self._schema.create(connection)
            connection.execute(f"PRAGMA application_id = {self._schema.application}")
            connection.execute(f"PRAGMA user_version = {self._schema.version}")
        connection.execute("COMMIT")

    def _upgrade(self, connection: sqlite3.Connection, version: int) -> None:
        _patiently(connection, "BEGIN IMMEDIATE")
        if _number(connection, "PRAGMA user_version") == version:  # Another process may have been faster.
            self._schema.upgrades[version](connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _explain(self, error: Exception) -> str:
        if isinstance(error, FileNotFoundError) and self._inode is not None:
            return f"the ledger {self._path} is gone: put it back, or restart the workers to begin a new one"
        if isinstance(error, sqlite3.IntegrityError):
            return f"the ledger {self._path} refuses changes: {error}"
        if _is_busy(error):
            return f"the ledger {self._path} has been locked for over {PATIENCE_SECONDS:g} s: try again"
        return f"the ledger {self._path} does not work ({error}): check the file, its owner and the disk's space"


def _patiently(connection: sqlite3.Connection, sql: str, parameters: Sequence[Value] = ()) -> sqlite3.Cursor:
    """Run the first statement of an operation, which is the only one that can find the file locked."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return connection.execute(sql, parameters)
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(NAP_SECONDS)


def _is_busy(error: Exception) -> bool:
    """Return whether an error is SQLITE_BUSY. Before Python 3.11, only its text shows that."""
    return isinstance(error, sqlite3.OperationalError) and str(error) == "database is locked"


def _is_empty(connection: sqlite3.Connection) -> bool:
    return _number(connection, "SELECT count(*) FROM sqlite_master") == 0


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return int(_patiently(connection, sql).fetchone()[0])


def _set_durable(connection: sqlite3.Connection, durable: bool) -> None:
    _patiently(connection, "PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")


def _inode(path: Path | str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


_creating = threading.Lock()


def _create(path: Path) -> None:
    """Create an empty file for its owner alone, unless it exists. SQLite gives -wal and -shm files the same mode.

    One thread runs it at a time, because closing a file drops all locks that the process holds on it, SQLite's too.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _creating, contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


# Connections are closed before each fork. It is not enough for a child to notice by its process id that a connection is
# its parent's, and to open another: SQLite keeps, in memory that the child inherits, which locks its process holds on
# a file, and takes none for the new connection (https://www.sqlite.org/howtocorrupt.html, section 2.6). Once the
# parent has ended, the next process to close the file deletes the write-ahead log that the child still writes to.
_files: "weakref.WeakSet[SqliteFile]" = weakref.WeakSet()
_forking = threading.Lock()
_closed_for_fork: list[SqliteFile] = []


def _before_fork() -> None:
    _forking.acquire()
    _closed_for_fork.extend(_files)
    for file in _closed_for_fork:
        file.close_for_fork()


def _after_fork() -> None:
    for file in _closed_for_fork:
        file.resume()
    _closed_for_fork.clear()
    _forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
