"""The move of an SQLite ledger to another one while workers serve: nothing is lost and nothing is counted twice."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from calpow.archiver.errors import LedgerFileError
from calpow.archiver.ledger_care.ledger_file import Counts
from calpow.archiver.ledger_care.sqlite_inspection import reading
from calpow.archiver.progress import announce, track
from calpow.handler.ledger.account import AccountSummary
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.settlement import Settlement
from calpow.handler.ledger.sqlite.sqlite_file import SqliteFile
from calpow.handler.ledger.sqlite.sqlite_freeze import freeze, is_frozen, thaw
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from calpow.handler.ledger.sqlite.sqlite_schema import SCHEMA

# Accounts that are written at once.
_AT_ONCE = 100


def move_ledger(path: Path, target: Ledger, name: str) -> Counts:
    """Copy a file into a ledger without keys and accounts, and freeze the file; `name` is the other ledger's, to show.

    Most accounts are copied while workers go on. Then the file refuses changes, what has changed meanwhile and the
    keys are copied, and both are compared. Where anything fails, the file takes changes again, unless another move has
    frozen it. Raises LedgerFileError and LedgerUnavailable. Decision 0061.
    """
    with reading(path) as connection:
        if is_frozen(connection):
            raise _already_frozen(path)
    if target.keys() or target.models():
        raise LedgerFileError(f"{name} has keys or accounts already: move into a new one (?prefix=NAME, in Redis)")
    source, file = SqliteLedger(path), SqliteFile(path, SCHEMA)
    copied: dict[tuple[str, str], int] = {}
    _copy_accounts(source, target, copied)
    announce("refuses changes of the old ledger from now on")
    if not freeze(file, f"it has moved to {name}: start the workers with that ledger"):
        raise _already_frozen(path)
    try:
        _copy_accounts(source, target, copied)
        _copy_settings(source, target)
        _compare(source, target, name)
    except BaseException:
        thaw(file)
        raise
    return Counts(len(source.keys()), len(copied))


def _already_frozen(path: Path) -> LedgerFileError:
    return LedgerFileError(
        f"{path} refuses changes already: it has moved, or another command moves it. `calpow ledger thaw` undoes a move"
        " that was killed, or whose new ledger no worker has yet"
    )


def _copy_accounts(source: Ledger, target: Ledger, copied: dict[tuple[str, str], int]) -> None:
    """Copy accounts whose version is another than the one that was `copied`."""
    for model in source.models():
        waiting: list[Settlement] = []
        for summary in track(source.summaries(model), f"accounts of {model}", "account"):
            if summary.version and copied.get((model, summary.name)) != summary.version:
                state = source.account(model, summary.name)
                before = target.account(model, summary.name).version if (model, summary.name) in copied else 0
                copied[model, summary.name] = state.version
                waiting.append(Settlement(summary.name, before, state.history, state.owed, (), usage=state.usage))
            if len(waiting) == _AT_ONCE:
                _write(target, model, waiting)
        _write(target, model, waiting)


def _write(target: Ledger, model: str, waiting: list[Settlement]) -> None:
    if not all(target.settle(model, waiting, now=0.0)):
        raise LedgerFileError("the new ledger is in use already: no worker may have it before the move is done")
    waiting.clear()


def _copy_settings(source: Ledger, target: Ledger) -> None:
    """Copy rules, limits and modes, and then the keys: nobody has one before everything else is there."""
    for account, rule in source.rules().items():
        target.set_rule(account, rule)
    for account, limits in source.limits().items():
        target.set_limits(account, limits)
    for model, mode in source.modes().items():
        target.set_mode(model, mode)
    target.restore_keys(source.key_records())


def _compare(source: Ledger, target: Ledger, name: str) -> None:
    """Raise LedgerFileError unless both ledgers hold the same."""
    pairs = zip_longest(_states(source), _states(target))
    same = (
        source.key_records() == target.key_records()
        and source.rules() == target.rules()
        and source.limits() == target.limits()
        and source.modes() == target.modes()
        and all(ours == theirs for ours, theirs in pairs)
    )
    if not same:
        raise LedgerFileError(f"{name} does not hold what was copied: the old ledger goes on")


def _states(ledger: Ledger) -> Iterator[tuple[str, AccountSummary]]:
    """Yield the accounts of all models but for their versions, which begin anew in another ledger."""
    for model in ledger.models():
        for summary in track(ledger.summaries(model), f"compared accounts of {model}", "account"):
            if summary.version:
                yield model, summary._replace(version=0)
