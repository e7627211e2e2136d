"""Deletion of what a ledger need not keep: what has expired, and accounts that nobody can use or has used.

Who forgets an account forgives it: it would begin as a new one, with an allowance of its own. What may be forgotten is
therefore what cannot query any more, or what has nothing held against it.
"""

import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from calpow.archiver.ledger_care.ledger_file import exported_accounts
from calpow.archiver.ledger_care.sqlite_inspection import reading
from calpow.archiver.progress import progress, track
from calpow.handler.identity.account_name import ANONYMOUS_ACCOUNT
from calpow.handler.ledger.account import Account, Rule
from calpow.handler.ledger.api_key import group_of
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.sqlite.expired_rows import ExpiredRows
from calpow.handler.ledger.sqlite.sqlite_file import SqliteFile
from calpow.handler.ledger.sqlite.sqlite_schema import SCHEMA

DAY_SECONDS = 86_400.0
# Rows of the file that one transaction looks at: workers wait for some milliseconds at most.
_ROWS_AT_ONCE = 2_000
_COUNT_EXPIRED = """SELECT (SELECT count(*) FROM uses WHERE expires <= :now)
    + (SELECT count(*) FROM outcomes WHERE expires <= :now)"""


class Prunable(NamedTuple):
    """An account that may be forgotten, and the version in which it may."""

    model: str
    name: str
    version: int


def count_expired(path: Path) -> int:
    """Return how many ids and solutions in a file have expired. Raises LedgerFileError where there is no ledger."""
    with reading(path) as connection:
        return int(connection.execute(_COUNT_EXPIRED, {"now": time.time()}).fetchone()[0])


def drop_expired(path: Path) -> int:
    """Delete the ids and solutions in a file that have expired, and return how many there were.

    Workers do so as well, a few with every answer. Raises LedgerUnavailable.
    """
    deleted = 0
    with progress("expired ids and solutions", "row") as advance:
        for rows in ExpiredRows.sweep(SqliteFile(path, SCHEMA), _ROWS_AT_ONCE, time.time()):
            deleted += rows
            advance(rows)
    return deleted


def without_keys(ledger: Ledger, days: float, prefixes: Collection[str]) -> Iterator[Prunable]:
    """Yield accounts all of whose keys were revoked or expired so many days ago or earlier.

    Accounts without any key stay, and so do those with limits, whose samples are still counted, those that a token or a
    proxy may name, which have one of the prefixes, and the groups of accounts that stay or that have no key.
    """
    limit = time.time() - days * DAY_SECONDS
    keys = ledger.keys()
    staying = {key.account for key in keys if key.ends is None or key.ends > limit} | set(ledger.limits())
    known = {key.account for key in keys}
    staying |= {name for name in known if name == ANONYMOUS_ACCOUNT or name.startswith(tuple(prefixes))}
    without = {summary.name for model in ledger.models() for summary in ledger.summaries(model)} - known
    staying |= {group for name in staying | without if (group := group_of(name))}
    ended = sorted(known - staying)
    for model in ledger.models():
        for name in track(ended, f"accounts of {model} without a key", "account"):
            state = ledger.account(model, name)
            if state.version:
                yield Prunable(model, name, state.version)


def unchanged_since(ledger: Ledger, export: Path) -> Iterator[Prunable]:
    """Yield accounts that are as in an earlier export, with nothing held against them, no rule and no limit.

    Raises LedgerFileError for a file that is no export.
    """
    rules, limits = ledger.rules(), ledger.limits()
    for model, exported in track(exported_accounts(export), "accounts of the export", "account"):
        state = ledger.account(model, exported.account)
        is_as_before = (state.history, state.owed) == (exported.history, exported.owed)
        has_rule = exported.account in limits or rules.get(exported.account, Rule.PRICED) is not Rule.PRICED
        if state.version and is_as_before and _is_harmless(state) and not has_rule:
            yield Prunable(model, exported.account, state.version)


def _is_harmless(state: Account) -> bool:
    return max(state.history.wealth, default=0) == 0 and state.owed <= 0
