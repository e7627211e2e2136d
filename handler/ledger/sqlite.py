"""The ledger of one machine: an SQLite file that all its workers share.

Durability (https://www.sqlite.org/pragma.html#pragma_synchronous): quote, settle and the keys are on the disk
before they return. charge, redeem, undo and recover only have to be seen by the other processes at once: what is
lost of the latter with the power was not answered yet, and is open again afterwards.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from calpow.handler.ledger.apikey import ApiKey, check_account
from calpow.handler.ledger.base import (
    NOTHING,
    Charge,
    Key,
    LedgerError,
    OpenChallenge,
    Payment,
    Quote,
    QuoteRequest,
    Secret,
    Standing,
    TooManyOpen,
    Totals,
)
from calpow.handler.ledger.sqlite_file import Row, Schema, SqliteFile, Value

APPLICATION_ID = 0x43504F57  # "CPOW"
SCHEMA_VERSION = 1

_OPEN, _HELD, _SPENT = 0, 1, 2

# The partial indices keep what is looked at for every query as small as what is open or held at the moment.
_TABLES = (
    "CREATE TABLE deployment (id TEXT NOT NULL)",
    "CREATE TABLE secrets (id TEXT NOT NULL UNIQUE, value BLOB NOT NULL)",
    """CREATE TABLE keys (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL, account TEXT NOT NULL, created REAL NOT NULL, revoked REAL
    ) WITHOUT ROWID""",
    """CREATE TABLE accounts (
        model TEXT, account TEXT,
        cost_micro INTEGER NOT NULL, excess_micro INTEGER NOT NULL, queries INTEGER NOT NULL,
        PRIMARY KEY (model, account)
    ) WITHOUT ROWID""",
    """CREATE TABLE challenges (
        id TEXT PRIMARY KEY, model TEXT NOT NULL, account TEXT NOT NULL, digest TEXT NOT NULL,
        token TEXT NOT NULL, expires REAL NOT NULL, hashes INTEGER NOT NULL,
        credit_cost INTEGER NOT NULL, credit_excess INTEGER NOT NULL, credit_queries INTEGER NOT NULL,
        state INTEGER NOT NULL, holder TEXT
    ) WITHOUT ROWID""",
    "CREATE TABLE stamps (id TEXT PRIMARY KEY, challenge TEXT NOT NULL, spent REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX stamps_spent ON stamps (spent)",
    "CREATE INDEX challenges_open ON challenges (model, account, digest, expires) WHERE state = 0",
    "CREATE INDEX challenges_held ON challenges (holder) WHERE state = 1",
    "CREATE INDEX challenges_expires ON challenges (expires)",
)

_FIND_KEY = "SELECT account, digest FROM keys WHERE id = ? AND revoked IS NULL"
_LIST_KEYS = "SELECT id, account, created, revoked FROM keys ORDER BY created, id"
_ADD_KEY = "INSERT INTO keys (id, digest, account, created) VALUES (?, ?, ?, ?)"
_REVOKE_KEY = "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?"

_TOTALS = "SELECT cost_micro, excess_micro, queries FROM accounts WHERE model = ? AND account = ?"
_SET_TOTALS = "REPLACE INTO accounts VALUES (?, ?, ?, ?, ?)"

_COUNT_OPEN = """SELECT count(*), min(expires), count(CASE WHEN digest = ? THEN 1 END)
    FROM challenges WHERE model = ? AND account = ? AND state = 0 AND expires > ?"""
_FIND_OPEN = """SELECT id, token, expires, hashes FROM challenges
    WHERE model = ? AND account = ? AND digest = ? AND state = 0 AND expires > ? ORDER BY expires DESC LIMIT 1"""
_ADD_OPEN = "INSERT INTO challenges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, NULL)"
_PURGE = """DELETE FROM challenges
    WHERE id IN (SELECT id FROM challenges WHERE expires <= ? ORDER BY expires LIMIT ?)"""

_SPENT_ON = "SELECT challenge FROM stamps WHERE id = ?"
_ADD_STAMP = "INSERT OR IGNORE INTO stamps VALUES (?, ?, ?)"
_PURGE_STAMPS = "DELETE FROM stamps WHERE id IN (SELECT id FROM stamps WHERE spent <= ? ORDER BY spent LIMIT ?)"

_HOLD = "UPDATE challenges SET state = 1, holder = ? WHERE id = ? AND state = 0 AND expires > ?"
_SPEND = "UPDATE challenges SET state = 2, holder = NULL WHERE id = ? AND state = 1"
_CREDIT = """UPDATE accounts SET cost_micro = cost_micro + credit_cost,
        excess_micro = excess_micro + credit_excess, queries = queries + credit_queries
    FROM challenges AS paid
    WHERE paid.id = ? AND paid.state = 1 AND accounts.model = paid.model AND accounts.account = paid.account"""
_REOPEN = "UPDATE challenges SET state = 0, holder = NULL WHERE id = ? AND state = 1"
_HOLDERS = "SELECT DISTINCT holder FROM challenges WHERE state = 1"
_REOPEN_OF = "UPDATE challenges SET state = 0, holder = NULL WHERE holder = ? AND state = 1"

# What has expired is cleared away two at a time for each that may be added, so that it never piles up.
_PURGED_PER_REQUEST = 2

# Much longer than a prepaid stamp is fresh: one that is purged must be stale by any worker's clock, also by one that
# verified it a while before it pays, and after a clock was set back.
_STAMPS_KEPT_SECONDS = 900.0

_Query = Callable[[str, Sequence[Value]], list[Row]]


class SqliteLedger:
    """A Ledger (see there for what the methods promise) in the SQLite file at an absolute path."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, Schema(APPLICATION_ID, SCHEMA_VERSION, _create))

    def deployment(self) -> str:
        """Name of this deployment."""
        return str(self._file.query("SELECT id FROM deployment")[0][0])

    def secrets(self) -> tuple[Secret, ...]:
        """Signing secrets, oldest first."""
        return tuple(Secret(*row) for row in self._file.query("SELECT id, value FROM secrets ORDER BY rowid"))

    def add_key(self, account: str) -> str:
        """Make a key and return it in clear, this once."""
        check_account(account)
        key = ApiKey.generate()
        with self._file.writing(durable=True) as connection:
            connection.execute(_ADD_KEY, (key.id, key.digest, account, time.time()))
        return key.text

    def keys(self) -> tuple[Key, ...]:
        """All keys, oldest first."""
        return tuple(Key(*row) for row in self._file.query(_LIST_KEYS))

    def revoke_key(self, key_id: str) -> None:
        """Refuse a key from now on."""
        with self._file.writing(durable=True) as connection:
            known = key_id.isascii() and connection.execute(_REVOKE_KEY, (time.time(), key_id)).rowcount
        if not known:
            raise LedgerError(f"there is no key {key_id!r} in this ledger: `calpow keys list` shows those there are")

    def account_of(self, key: str) -> str | None:
        """The account of a key, or None."""
        presented = ApiKey.read(key)
        if presented is None:
            return None
        for account, digest in self._file.query(_FIND_KEY, (presented.id,)):
            if presented.matches(digest):
                return str(account)
        return None

    def totals(self, model: str, account: str) -> Totals:
        """What an account has run up with a model."""
        return _totals(self._file.query, model, account)

    def standing(self, model: str, account: str, digest: str, now: float) -> Standing:
        """How an account stands before a payload is priced."""
        return _standing(self._file.query, model, account, digest, now)

    def quote(
        self, model: str, requests: Sequence[QuoteRequest], *, now: float, max_open: int
    ) -> list[Quote | TooManyOpen]:
        """Charge and challenge a batch in one transaction."""
        if not requests:
            return []
        with self._file.writing(durable=True) as connection:
            connection.execute(_PURGE, (now, _PURGED_PER_REQUEST * len(requests)))
            return [_quote(connection, model, request, now, max_open) for request in requests]

    def charge(self, model: str, charges: Mapping[str, Charge]) -> None:
        """Add to accounts what nobody had to pay for."""
        if not charges:
            return
        with self._file.writing(durable=False) as connection:
            for account, charge in charges.items():
                _add(connection, model, account, charge)

    def pay(self, challenge: OpenChallenge, payment: Payment, *, now: float) -> bool:
        """Redeem an open challenge with prepaid stamps."""
        with self._file.writing(durable=True) as connection:
            return _pay(connection, challenge, payment, now)

    def redeem(self, ids: Sequence[str], *, now: float, holder: str) -> frozenset[str]:
        """Take those of the challenges that are open and unexpired."""
        if not ids:
            return frozenset()
        with self._file.writing(durable=False) as connection:
            return frozenset(name for name in ids if connection.execute(_HOLD, (holder, name, now)).rowcount)

    def settle(self, ids: Sequence[str]) -> None:
        """Spend held challenges for good and book their credits."""
        if not ids:
            return
        named = [(name,) for name in dict.fromkeys(ids)]
        with self._file.writing(durable=True) as connection:
            connection.executemany(_CREDIT, named)
            connection.executemany(_SPEND, named)

    def undo(self, ids: Sequence[str]) -> None:
        """Open held challenges again."""
        if not ids:
            return
        with self._file.writing(durable=False) as connection:
            connection.executemany(_REOPEN, [(name,) for name in ids])

    def recover(self, is_alive: Callable[[str], bool]) -> int:
        """Open the challenges of holders that are no more."""
        holders = [str(holder) for (holder,) in self._file.query(_HOLDERS)]
        dead = [holder for holder in holders if not is_alive(holder)]
        if not dead:
            return 0
        with self._file.writing(durable=False) as connection:
            return sum(connection.execute(_REOPEN_OF, (holder,)).rowcount for holder in dead)


def _create(connection: sqlite3.Connection) -> None:
    for table in _TABLES:
        connection.execute(table)
    connection.execute("INSERT INTO deployment VALUES (?)", (secrets.token_hex(3),))
    connection.execute("INSERT INTO secrets VALUES (?, ?)", (secrets.token_hex(4), secrets.token_bytes(32)))


def _quote(
    connection: sqlite3.Connection, model: str, request: QuoteRequest, now: float, max_open: int
) -> Quote | TooManyOpen:
    def query(sql: str, parameters: Sequence[Value]) -> list[Row]:
        return connection.execute(sql, parameters).fetchall()

    standing = _standing(query, model, request.account, request.digest, now)
    if standing.challenge is not None:
        paid = request.payment is not None and _pay(connection, standing.challenge, request.payment, now)
        return Quote(standing.challenge, charged=False, paid=paid)
    if standing.open_count >= max_open:
        return TooManyOpen((standing.soonest_expiry or now) - now)
    made = request.draft(_add(connection, model, request.account, request.charge))
    credit = (request.credit.cost_micro, request.credit.excess_micro, request.credit.queries)
    row = (made.id, model, request.account, request.digest, made.token, made.expires, made.hashes, *credit)
    connection.execute(_ADD_OPEN, row)
    paid = request.payment is not None and _pay(connection, made, request.payment, now)
    return Quote(made, charged=True, paid=paid)


def _add(connection: sqlite3.Connection, model: str, account: str, charge: Charge) -> Totals:
    def query(sql: str, parameters: Sequence[Value]) -> list[Row]:
        return connection.execute(sql, parameters).fetchall()

    totals = _totals(query, model, account) + charge
    connection.execute(_SET_TOTALS, (model, account, totals.cost_micro, totals.excess_micro, totals.queries))
    return totals


def _pay(connection: sqlite3.Connection, challenge: OpenChallenge, payment: Payment, now: float) -> bool:
    connection.execute(_PURGE_STAMPS, (now - _STAMPS_KEPT_SECONDS, _PURGED_PER_REQUEST * len(payment.stamps)))
    if payment.hashes < challenge.hashes or payment.stale_at <= now:
        return False
    for stamp in payment.stamps:
        if any(spent_on != challenge.id for (spent_on,) in connection.execute(_SPENT_ON, (stamp,))):
            return False
    if not connection.execute(_HOLD, (payment.holder, challenge.id, now)).rowcount:
        return False
    connection.executemany(_ADD_STAMP, [(stamp, challenge.id, now) for stamp in payment.stamps])
    return True


def _standing(query: _Query, model: str, account: str, digest: str, now: float) -> Standing:
    count, soonest, matching = query(_COUNT_OPEN, (digest, model, account, now))[0]
    # Outside a transaction it may have been redeemed since it was counted.
    found = query(_FIND_OPEN, (model, account, digest, now)) if matching else []
    return Standing(OpenChallenge(*found[0]) if found else None, count, soonest)


def _totals(query: _Query, model: str, account: str) -> Totals:
    rows = query(_TOTALS, (model, account))
    return Totals(*rows[0]) if rows else NOTHING
