"""Values of the SQLite ledger's rows, as they are stored and as they are read."""

import json
import sqlite3
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from calpow.handler.ledger.account import Account, Rule
from calpow.handler.ledger.history import NO_HISTORY, History
from calpow.handler.ledger.limits import NO_LIMITS, NO_USAGE, Usage, read_limits
from calpow.handler.ledger.solutions import Outcome
from calpow.handler.ledger.sqlite.sqlite_file import Row, Value


def read_account(row: Sequence[Any]) -> Account:
    """Return an account from its row, whose parts but the limits are empty for one that the ledger has never seen."""
    cost_micro, queries, wealth, digests, sketches, *new, owed, version, answered, day, today, limits = row
    limited = NO_LIMITS if limits is None else read_limits(limits)
    if version is None:
        return Account(NO_HISTORY, 0, 0, None, NO_USAGE, limited)
    # An account without old samples has no row of them.
    history = History(cost_micro, queries, unpacked(wealth), digests or b"", sketches or b"", *new)
    return Account(history, owed, version, None, Usage(answered, day, today), limited)


def outcome_row(outcome: Outcome, expires: float) -> tuple[Value, ...]:
    """Return the row of an outcome."""
    work = (outcome.price, outcome.work, outcome.rest)
    return (outcome.solution, outcome.digest, outcome.settled, *work, packed(outcome.credit), expires)


def read_outcome(row: Row) -> Outcome:
    """Return an outcome from its row, without the time of its expiry."""
    solution, digest, settled, price, work, rest, credit = row
    return Outcome(solution, digest, settled, price, work, rest, unpacked(credit))


def read_outcomes(rows: Iterable[Row]) -> dict[str, Outcome]:
    """Return outcomes by id from rows that begin with both."""
    return {row[0]: read_outcome(row[1:8]) for row in rows}


def read_rule(rule: str | None) -> Rule:
    """Return an operator's rule, or that of accounts without one."""
    return Rule(rule) if rule else Rule.PRICED


# Cached, because the ids of an answer are listed when they are read, used and spent.
@lru_cache(maxsize=256)
def listed(ids: tuple[str, ...]) -> str:
    """Return ids as a JSON list."""
    return json.dumps(ids)


def packed(numbers: Sequence[int]) -> bytes:
    """Return signed integers of 64 bits in one value. Raises OverflowError for larger ones, as sqlite3 does."""
    try:
        return struct.pack(f"<{len(numbers)}q", *numbers)
    except struct.error as error:
        raise OverflowError(str(error)) from error


def unpacked(value: bytes) -> tuple[int, ...]:
    """Return the integers of one value."""
    return struct.unpack(f"<{len(value) // 8}q", value)


def first_row(connection: sqlite3.Connection, sql: str, parameters: Sequence[Value]) -> Row | None:
    """Return the first row of a statement, or None."""
    row: Row | None = connection.execute(sql, parameters).fetchone()
    return row
