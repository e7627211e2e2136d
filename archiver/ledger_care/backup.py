"""A copy of an SQLite ledger as it is at one time, made while workers write."""

import contextlib
import sqlite3
from pathlib import Path

from calpow.archiver.errors import LedgerFileError
from calpow.archiver.ledger_care.new_file import new_file
from calpow.archiver.ledger_care.sqlite_inspection import reading
from calpow.archiver.progress import progress

# Pages of 4 KB that are copied at once.
_PAGES = 4_096


def back_up(ledger: Path, copy: Path) -> None:
    """Copy a ledger to a new file, which only this user can read. Raises LedgerFileError.

    The copy is made in one read transaction, so that it is a state between two changes. Workers go on; their log
    grows meanwhile. A copy that could not be finished is removed.
    """
    try:
        with (
            reading(ledger) as source,
            new_file(copy) as part,
            contextlib.closing(sqlite3.connect(part)) as target,
        ):
            _copy(source, target)
    except OSError as problem:
        raise LedgerFileError(f"{ledger} cannot be copied to {copy}: {problem.strerror}") from problem
    except sqlite3.Error as problem:
        raise LedgerFileError(f"{ledger} cannot be copied to {copy}: {problem}") from problem


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    # Without a transaction, the copy would begin anew whenever a worker writes.
    source.execute("BEGIN")
    (pages,) = source.execute("PRAGMA page_count").fetchone()
    with progress("copied", "page", pages) as advance:
        done = 0

        def count(_: int, remaining: int, total: int) -> None:
            nonlocal done
            advance(total - remaining - done)
            done = total - remaining

        source.backup(target, pages=_PAGES, progress=count, sleep=0)
