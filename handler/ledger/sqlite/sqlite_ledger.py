"""The ledger of one machine: an SQLite file that all its workers share.

What a method has written when it returns is visible to the other processes and survives the end of this one. What the
methods for keys write is on the disk as well; a power failure may lose the last second of the rest. Decision 0051.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from calpow.handler.ledger.account import Account, AccountChange, AccountSummary
from calpow.handler.ledger.api_key import ApiKey, group_of
from calpow.handler.ledger.holders import Identity, KeyHolder, Standing
from calpow.handler.ledger.ledger import FAILURE_SECONDS, MOST_FAILURES
from calpow.handler.ledger.settlement import Settlement, Spending, settlement_of
from calpow.handler.ledger.solutions import MOST_USES, RETRY_SECONDS, Admission, Outcome, Use, UseResult
from calpow.handler.ledger.sqlite.expired_rows import ExpiredRows
from calpow.handler.ledger.sqlite.sqlite_file import Row
from calpow.handler.ledger.sqlite.sqlite_rows import (
    first_row,
    listed,
    outcome_row,
    packed,
    read_account,
    read_outcome,
    read_outcomes,
    read_rule,
    unpacked,
)
from calpow.handler.ledger.sqlite.sqlite_settings import GOOD_KEY, SqliteSettings

_MODELS = "SELECT DISTINCT model FROM accounts ORDER BY model"
_SUMMARIES = """SELECT account, cost_micro, queries, wealth, owed, version FROM accounts
    WHERE model = ? AND account > ? ORDER BY account LIMIT ?"""
# Accounts that are read at once.
_PAGE = 1_000

_STATE = """cost_micro, queries, wealth, digests, sketches, new_digests, new_sketches, owed, version,
        answered, day, today, limits"""
# One row, also of an account that the ledger has never seen.
_ACCOUNT = f"""SELECT {_STATE}, rule
    FROM (SELECT ? AS model, ? AS account) LEFT JOIN accounts USING (model, account)
        LEFT JOIN old_samples USING (model, account) LEFT JOIN limits USING (account) LEFT JOIN rules USING (account)"""  # noqa: S608
_VERSION = "SELECT version FROM accounts WHERE model = ? AND account = ?"
_CHANGE_ACCOUNT = """UPDATE accounts SET cost_micro = ?, queries = ?, wealth = ?, new_digests = ?, new_sketches = ?,
        answered = coalesce(?, answered), day = coalesce(?, day), today = coalesce(?, today),
        owed = ?, version = version + 1 WHERE model = ? AND account = ? AND version = ?"""
_SET_OLD_SAMPLES = "REPLACE INTO old_samples VALUES (?, ?, ?, ?)"
_ADD_ACCOUNT = "INSERT OR IGNORE INTO accounts VALUES (?, ?, 0, 0, 0, 0, 0, 0, x'', x'', x'', 0, 0, 0)"
_DROP_ACCOUNT = "DELETE FROM accounts WHERE model = ? AND account = ? AND version = ?"
_DROP_OLD_SAMPLES = "DELETE FROM old_samples WHERE model = ? AND account = ?"
_FAILURES = "SELECT failures, failing_since FROM accounts WHERE model = ? AND account = ?"
_SET_FAILURES = """INSERT INTO accounts VALUES (?, ?, 0, 0, 0, 0, ?, ?, x'', x'', x'', 0, 0, 0)
    ON CONFLICT DO UPDATE SET failures = excluded.failures, failing_since = excluded.failing_since"""

# Ids are passed as one JSON list, so that the text of a statement is the same for any number of them.
_SPENT = """SELECT uses.id, outcomes.solution, digest, settled, price, work, rest, credit,
            NULL, NULL, NULL, NULL, NULL, NULL
        FROM json_each(?) JOIN uses ON uses.id = value JOIN outcomes ON outcomes.solution = uses.solution"""
_STANDING = f"""SELECT NULL, {_STATE}
        FROM (SELECT ? AS model, ? AS account) LEFT JOIN accounts USING (model, account)
            LEFT JOIN old_samples USING (model, account) LEFT JOIN limits USING (account)
    UNION ALL {_SPENT}"""  # noqa: S608
# `{}` is a SELECT of the account and of the digest of its key.
_HOLDER_FROM = f"""SELECT NULL, {_STATE}, holder.account, holder.digest, rule
        FROM ({{}}) AS holder LEFT JOIN rules USING (account) LEFT JOIN limits USING (account)
            LEFT JOIN accounts ON accounts.model = ? AND accounts.account = holder.account
            LEFT JOIN old_samples ON old_samples.model = accounts.model AND old_samples.account = accounts.account
    UNION ALL {_SPENT.replace("FROM json_each", ", NULL, NULL, NULL FROM json_each")}"""  # noqa: S608
_HOLDER_OF_KEY = _HOLDER_FROM.format(GOOD_KEY)
_HOLDER_BY_NAME = _HOLDER_FROM.format("SELECT ? AS account, NULL AS digest")
# An id is spent once the solution that used it last has an outcome. Ids are written when they are used, and a
# settlement adds the outcome alone.
_USED = """SELECT coalesce(max(uses), 0), count(outcomes.solution), min(outcomes.solution), max(outcomes.solution)
    FROM json_each(?) JOIN uses ON uses.id = value LEFT JOIN outcomes ON outcomes.solution = uses.solution"""
_USES = """SELECT coalesce(sum(uses.solution = ?), 0), count(outcomes.solution),
        coalesce(min(uses.expires), 0), coalesce(max(uses.expires), 0)
    FROM json_each(?) JOIN uses ON uses.id = value LEFT JOIN outcomes ON outcomes.solution = uses.solution"""
_SPENT_OF = """SELECT uses.id
    FROM json_each(?) JOIN uses ON uses.id = value JOIN outcomes ON outcomes.solution = uses.solution"""
_FIRST_USE = "INSERT INTO uses SELECT value, 1, ?, ? FROM json_each(?)"
_COUNT_USE = """INSERT INTO uses VALUES (?, 1, ?, ?) ON CONFLICT DO UPDATE
    SET uses = uses + 1, solution = excluded.solution, expires = max(expires, excluded.expires)"""
_COUNT_REPEAT = "UPDATE uses SET uses = uses + 1 WHERE id = ?"
_SPEND = """INSERT INTO uses VALUES (?, 1, ?, ?)
    ON CONFLICT DO UPDATE SET solution = excluded.solution, expires = max(expires, excluded.expires)"""
_OUTCOME = "SELECT solution, digest, settled, price, work, rest, credit FROM outcomes WHERE solution = ?"
_SET_OUTCOME = "REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_SET_OUTCOME_OF_USED = """INSERT OR IGNORE INTO outcomes SELECT ?, ?, ?, ?, ?, ?, ?, ?
    WHERE (SELECT count(*) FROM json_each(?) JOIN uses ON uses.id = value
        WHERE uses.solution = ? AND uses.expires = ?) = ?"""
_DROP_OUTCOME = "DELETE FROM outcomes WHERE solution = ?"
_KEEP_OUTCOME = "UPDATE outcomes SET expires = max(expires, ?) WHERE solution = ?"


class SqliteLedger(SqliteSettings):
    """A `Ledger` in the SQLite file at an absolute path."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._expired = ExpiredRows()

    def holders(self, model: str, presented: Sequence[tuple[Identity, Sequence[str]]]) -> list[KeyHolder | None]:
        """Return the account of each identity, or None."""
        now = time.time()
        keys = [None if identity.key is None else ApiKey.read(identity.key) for identity, _ in presented]
        selects = [
            (_HOLDER_BY_NAME, (identity.account, model, listed(tuple(ids))))
            if identity.key is None
            else (_HOLDER_OF_KEY, ("" if key is None else key.id, now, model, listed(tuple(ids))))
            for key, (identity, ids) in zip(keys, presented, strict=True)
        ]
        found = self._file.queries(selects)
        return self._with_groups(model, [_read_holder(key, rows) for key, rows in zip(keys, found, strict=True)])

    def _with_groups(self, model: str, holders: list[KeyHolder | None]) -> list[KeyHolder | None]:
        """Return holders with the states and the rules of their groups."""
        groups = list({name for holder in holders if holder is not None and (name := group_of(holder.name))})
        if not groups:
            return holders
        found = self._file.queries([(_ACCOUNT, (model, name)) for name in groups])
        rows = dict(zip(groups, [row for (row,) in found], strict=True))
        return [None if holder is None else _with_group(holder, rows) for holder in holders]

    def models(self) -> list[str]:
        """Return the names of the models that have accounts."""
        return [str(model) for (model,) in self._file.query(_MODELS)]

    def summaries(self, model: str) -> Iterator[AccountSummary]:
        """Yield all accounts of a model, in the order of their names."""
        last = ""
        while rows := self._file.query(_SUMMARIES, (model, last, _PAGE)):
            for name, cost_micro, queries, wealth, owed, version in rows:
                yield AccountSummary(name, cost_micro, queries, unpacked(wealth), owed, version)
            last = rows[-1][0]

    def forget(self, model: str, account: str, version: int) -> bool:
        """Forget an account that has this version still, and return whether it had."""

        def drop(connection: sqlite3.Connection) -> bool:
            is_there = connection.execute(_DROP_ACCOUNT, (model, account, version)).rowcount == 1
            if is_there:
                connection.execute(_DROP_OLD_SAMPLES, (model, account))
            return is_there

        return self._file.write(drop, durable=False)

    def account(self, model: str, account: str) -> Account:
        """Return the state of an account."""
        ((*row, _),) = self._file.query(_ACCOUNT, (model, account))
        return self._in_group(model, account, read_account(row))

    def _in_group(self, model: str, account: str, own: Account) -> Account:
        """Return an account with the state of its group, if it has one."""
        group = group_of(account)
        return own if group is None else own._replace(group=self.account(model, group))

    def standing(self, model: str, account: str, ids: Sequence[str]) -> Standing:
        """Return the state of an account and the outcomes of those of the ids that are spent."""
        rows = self._file.query(_STANDING, (model, account, listed(tuple(ids))))
        state = self._in_group(model, account, read_account(rows[0][1:]))
        return Standing(state, read_outcomes(rows[1:]))

    def admit(self, uses: Sequence[Use], *, now: float) -> list[UseResult]:
        """Count uses and return for each whether its request may run."""
        if not uses:
            return []

        def count(connection: sqlite3.Connection) -> list[UseResult]:
            self._expired.make_room(connection, sum([len(use.ids) for use in uses]), now)
            return [_admit(connection, use, now) for use in uses]

        return self._file.write(count, durable=False)

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Change accounts and spend ids, and return for each settlement whether it was written."""
        if not settlements:
            return []
        return self._file.write(
            lambda connection: [_settle(connection, model, settlement) for settlement in settlements], durable=False
        )

    def fail(self, model: str, account: str, ids: Sequence[str], *, expires: float, now: float) -> None:
        """Count a failure of the victim on a request that these ids paid for."""
        self._file.write(lambda connection: _fail(connection, model, account, ids, expires, now), durable=False)

    def charge(self, model: str, changes: Mapping[str, AccountChange], charge: str = "") -> None:
        """Change accounts for answers that were given without payment: all of them or, where it raises, none."""

        def change_all(connection: sqlite3.Connection) -> None:
            for account, change in changes.items():
                before = _state(connection, model, account)
                _change_account(connection, model, settlement_of(account, before, change(before)))

        if changes:
            self._file.write(change_all, durable=False)


def _admit(connection: sqlite3.Connection, use: Use, now: float) -> UseResult:
    withheld = None
    if use.withheld is not None:
        withheld = _outcome(connection, use.withheld)
        if withheld is None or withheld.rest <= 0 or withheld.digest != use.digest:
            return UseResult(Admission.MISMATCH)
    ids = listed(use.ids)
    if withheld is None and _is_first(connection, use, ids):
        return UseResult(Admission.FRESH)
    used, spent, first, last = connection.execute(_USED, (ids,)).fetchone()
    if spent == 0:
        if used >= MOST_USES:
            return UseResult(Admission.EXHAUSTED)
        connection.executemany(_COUNT_USE, [(name, use.solution, use.expires) for name in use.ids])
        if withheld is not None:  # A retry of this use needs it again.
            connection.execute(_KEEP_OUTCOME, (use.expires, withheld.solution))
        return UseResult(Admission.FRESH, withheld=withheld)
    outcome = _outcome(connection, use.solution) if spent == len(use.ids) and first == last == use.solution else None
    if outcome is None or outcome.digest != use.digest or now - outcome.settled > RETRY_SECONDS:
        return UseResult(Admission.SPENT)
    if outcome.rest == 0:
        if used >= MOST_USES:
            return UseResult(Admission.EXHAUSTED)
        connection.executemany(_COUNT_REPEAT, [(name,) for name in use.ids])
    return UseResult(Admission.REPEAT, outcome, withheld)


def _is_first(connection: sqlite3.Connection, use: Use, ids: str) -> bool:
    """Count a use whose ids, a JSON list, are all unknown, and return True; return False if one of them is known."""
    try:
        connection.execute(_FIRST_USE, (use.solution, use.expires, ids))
    except sqlite3.IntegrityError:
        return False
    return True


def _fail(
    connection: sqlite3.Connection, model: str, account: str, ids: Sequence[str], expires: float, now: float
) -> None:
    failures, since = first_row(connection, _FAILURES, (model, account)) or (0, 0)
    if now - since > FAILURE_SECONDS:
        failures, since = 0, now
    connection.execute(_SET_FAILURES, (model, account, failures + 1, since))
    if failures < MOST_FAILURES:
        return
    spent = {name for (name,) in connection.execute(_SPENT_OF, (listed(tuple(ids)),))}
    good = [name for name in ids if name not in spent]
    if good:
        # No use has this name: a solution's name is a digest, which holds no colon.
        failed = Outcome(f"failed:{good[0]}", "", now, 0, 0, 0)
        _spend(connection, good, _uses(connection, failed.solution, good), failed, expires)


def _settle(connection: sqlite3.Connection, model: str, settlement: Settlement) -> bool:
    group = settlement.group
    if group is not None and not _is_current(connection, model, group):
        return False
    spendings = settlement.spendings
    ids = [name for spending in spendings for name in spending.ids]
    if len(set(ids)) != len(ids):
        return False
    if len(spendings) == 1 and _spend_as_used(connection, spendings[0]):
        written = _change_account(connection, model, settlement)
        if not written:
            connection.execute(_DROP_OUTCOME, (spendings[0].outcome.solution,))
        return written
    uses = [_uses(connection, spending.outcome.solution, spending.ids) for spending in spendings]
    if any(counted.spent for counted in uses) or not _change_account(connection, model, settlement):
        return False
    for spending, counted in zip(spendings, uses, strict=True):
        _spend(connection, spending.ids, counted, spending.outcome, spending.expires)
    return True


def _spend_as_used(connection: sqlite3.Connection, spending: Spending) -> bool:
    """Spend unspent ids that this solution used last and that expire with it, as nearly all are, in one statement.

    Return False for others, and change nothing.
    """
    outcome = spending.outcome
    used = (listed(spending.ids), outcome.solution, spending.expires, len(spending.ids))
    row = outcome_row(outcome, spending.expires)
    return connection.execute(_SET_OUTCOME_OF_USED, (*row, *used)).rowcount == 1


class _Uses(NamedTuple):
    """Some ids: how many a solution used last, how many are spent, and their earliest and latest expiry."""

    last: int
    spent: int
    earliest: float
    latest: float


def _uses(connection: sqlite3.Connection, solution: str, ids: Sequence[str]) -> _Uses:
    return _Uses(*connection.execute(_USES, (solution, listed(tuple(ids)))).fetchone())


def _spend(connection: sqlite3.Connection, ids: Sequence[str], uses: _Uses, outcome: Outcome, expires: float) -> None:
    expires = max(expires, uses.latest)  # An outcome is remembered as long as its ids.
    if uses.last < len(ids) or uses.earliest < expires:
        connection.executemany(_SPEND, [(name, outcome.solution, expires) for name in ids])
    connection.execute(_SET_OUTCOME, outcome_row(outcome, expires))


def _outcome(connection: sqlite3.Connection, solution: str) -> Outcome | None:
    row = first_row(connection, _OUTCOME, (solution,))
    return read_outcome(row) if row else None


def _with_group(holder: KeyHolder, groups: Mapping[str, Row]) -> KeyHolder:
    """Return a holder with the state and the rule of its group, if it has one, from the row of that."""
    group = group_of(holder.name)
    if group is None:
        return holder
    *state, rule = groups[group]
    standing, account = holder.standing, holder.standing.account
    account = account._replace(group=read_account(state))
    return KeyHolder(holder.name, standing._replace(account=account), holder.rule.with_group(read_rule(rule)))


def _read_holder(key: ApiKey | None, rows: Sequence[Row]) -> KeyHolder | None:
    """Return the holder from its row, if it is known, and those of spent ids. `key` must be the one of the row."""
    if not rows or rows[0][0] is not None:
        return None
    *account, name, digest, rule = rows[0][1:]
    if digest is not None and (key is None or not key.matches(digest)):
        return None
    return KeyHolder(name, Standing(read_account(account), read_outcomes(rows[1:])), read_rule(rule))


def _state(connection: sqlite3.Connection, model: str, account: str) -> Account:
    *row, _ = connection.execute(_ACCOUNT, (model, account)).fetchone()
    own, group = read_account(row), group_of(account)
    return own if group is None else own._replace(group=_state(connection, model, group))


def _is_current(connection: sqlite3.Connection, model: str, change: Settlement) -> bool:
    """Return whether an account has the version from which a change was computed."""
    (version,) = first_row(connection, _VERSION, (model, change.account)) or (0,)
    return bool(version == change.before)


def _change_account(connection: sqlite3.Connection, model: str, change: Settlement) -> bool:
    """Change an account from its version `before` to the next, and return whether it still had that version.

    Its group is changed with it, and must have the version from which that change was computed.
    """
    name, history = change.account, change.history
    if not change.before:
        connection.execute(_ADD_ACCOUNT, (model, name))
    past = (history.cost_micro, history.queries, packed(history.wealth), history.new_digests, history.new_sketches)
    usage = change.usage or (None, None, None)
    written = (
        connection.execute(_CHANGE_ACCOUNT, (*past, *usage, change.owed, model, name, change.before)).rowcount == 1
    )
    if written and not change.keeps_old:
        connection.execute(_SET_OLD_SAMPLES, (model, name, history.digests, history.sketches))
    if written and change.group is not None:
        _change_account(connection, model, change.group)
    return written
