"""Deletion of what has expired from the SQLite ledger, a few rows at a time."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from calpow.handler.ledger.sqlite.sqlite_file import SqliteFile

# So many ids are added before rows are looked at, and so many rows of each table are looked at for each of them. A
# table then holds at most a third more than what has not expired.
_IDS_BETWEEN = 16
_ROWS_PER_ID = 4


class ExpiredRows:
    """Deletes rows that have expired, in rounds through the tables, in the order of their keys.

    An index by time of expiry would find them at once, but one of its pages would be written for every row.
    """

    def __init__(self) -> None:
        self._tables = (_Table("uses", "id"), _Table("outcomes", "solution"))
        self._added = 0

    @classmethod
    def sweep(cls, file: SqliteFile, rows: int, now: float) -> Iterator[int]:
        """Delete all that has expired, in one transaction for so many rows, and yield the number deleted by each."""
        for table in cls()._tables:
            while True:
                yield file.write(partial(table.delete_expired, rows=rows, now=now), durable=False)
                if not table.last:
                    break

    def make_room(self, connection: sqlite3.Connection, ids: int, now: float) -> None:
        """Delete some rows, unless few ids were added since the last time. There will be `ids` more."""
        self._added += ids
        if self._added < _IDS_BETWEEN:
            return
        for table in self._tables:
            table.delete_expired(connection, _ROWS_PER_ID * self._added, now)
        self._added = 0


@dataclass
class _Table:
    """A table and its key, and the last key that was looked at."""

    name: str
    key: str
    last: str = ""

    def delete_expired(self, connection: sqlite3.Connection, rows: int, now: float) -> int:
        """Look at the next rows, delete those that have expired, and return their number.

        There is no margin: the caller has added it. `last` is empty after the last row.
        """
        find = f"SELECT {self.key} FROM {self.name} WHERE {self.key} > ? ORDER BY {self.key} LIMIT 1 OFFSET ?"  # noqa: S608
        delete = f"DELETE FROM {self.name} WHERE expires <= ? AND {self.key} > ?"  # noqa: S608
        end = connection.execute(find, (self.last, rows)).fetchone()
        if end is None:
            deleted = connection.execute(delete, (now, self.last)).rowcount
            self.last = ""
        else:
            deleted = connection.execute(f"{delete} AND {self.key} <= ?", (now, self.last, *end)).rowcount
            (self.last,) = end
        return deleted
