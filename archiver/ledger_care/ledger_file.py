"""Export of a ledger: JSON lines that another ledger takes over, of whatever kind both are.

Keys (hashes only), rules, limits, modes and accounts are exported. Spent solutions and signing secrets are not: the
other ledger is a new deployment, in which nothing that was signed or minted for this one is worth anything. Decision
0013. The last line counts those between the first and itself: a file that was cut off is none. Decision 0069.
"""

import base64
import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from calpow.archiver.errors import LedgerFileError
from calpow.archiver.ledger_care.inspection import has_whole_samples
from calpow.archiver.ledger_care.new_file import new_file
from calpow.archiver.progress import log_notes, progress, track
from calpow.handler.config import Mode
from calpow.handler.errors import LedgerError
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.api_key import check_account
from calpow.handler.ledger.history import History
from calpow.handler.ledger.holders import KeyRecord
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import NO_USAGE, AccountLimits, Usage
from calpow.handler.ledger.settlement import Settlement

FORMAT = {"calpow-ledger": 2}
# The format of before, whose files have no last line.
_UNCOUNTED = {"calpow-ledger": 1}
# Accounts that are written at once.
_AT_ONCE = 100
# The members of a history that are bytes, in their order.
_SAMPLES = ("digests", "sketches", "new_digests", "new_sketches")


@dataclass(frozen=True)
class Counts:
    """The numbers of keys and of accounts in an export."""

    keys: int
    accounts: int


def export_ledger(ledger: Ledger, path: Path) -> Counts:
    """Write an export to a new file, which only this user can read. Raises LedgerUnavailable or LedgerFileError.

    Each account is as it was at one time between the beginning and the end; workers may go on meanwhile. A file that
    could not be finished is removed.
    """
    counts = dict.fromkeys(("key", "account"), 0)
    try:
        with new_file(path) as part, part.open("w", encoding="utf-8") as file:
            file.write(_line("format", FORMAT))
            for kind, value in _entries(ledger):
                counts[kind] = counts.get(kind, 0) + 1
                file.write(_line(kind, value))
            file.write(_line("end", sum(counts.values())))
    except OSError as problem:
        raise LedgerFileError(f"{path} cannot be written: {problem.strerror}") from problem
    return Counts(counts["key"], counts["account"])


def import_ledger(ledger: Ledger, path: Path) -> Counts:
    """Take over an export into a ledger that has no key and no account yet.

    Raises LedgerFileError for one that has, and for a file that is no export; then nothing is written.
    """
    if _first_line(path) == _UNCOUNTED:
        log_notes([f"{path} is of an earlier version, in which a file that was cut off between two lines looks whole"])
    # Read twice: a file with a wrong line changes nothing, and one of a million accounts need not fit into memory.
    total = sum(kind == "account" for kind, _ in _read(path))
    if ledger.keys() or ledger.models():
        raise LedgerFileError("the ledger has keys or accounts already: import into a new one")
    keys: list[KeyRecord] = []
    waiting: list[tuple[str, Settlement]] = []
    with progress("accounts", "account", total) as advance:
        for kind, value in _read(path):
            if kind == "key":
                keys.append(value)
            elif kind == "rule":
                ledger.set_rule(*value)
            elif kind == "limits":
                ledger.set_limits(*value)
            elif kind == "mode":
                ledger.set_mode(*value)
            elif kind == "account":
                waiting.append(value)
                advance(1)
            if len(waiting) == _AT_ONCE:
                _write(ledger, path, waiting)
    _write(ledger, path, waiting)
    # Last: nobody has a key before his account is there.
    ledger.restore_keys(keys)
    return Counts(len(keys), total)


def _write(ledger: Ledger, path: Path, waiting: list[tuple[str, Settlement]]) -> None:
    for model, accounts in groupby(waiting, key=itemgetter(0)):
        if not all(ledger.settle(model, [settlement for _, settlement in accounts], now=0.0)):
            raise LedgerFileError(f"{path} has an account twice, or the ledger is in use: import into another new one")
    waiting.clear()


def exported_accounts(path: Path) -> Iterator[tuple[str, Settlement]]:
    """Yield the accounts of an export: the model of each, and what writes it anew. Raises LedgerFileError."""
    return (value for kind, value in _read(path) if kind == "account")


def _entries(ledger: Ledger) -> Iterator[tuple[str, object]]:
    """Yield the lines of an export between its first and its last, each as its kind and its value."""
    for record in ledger.key_records():
        yield "key", record._asdict() | {"digest": record.digest.hex()}
    for account, rule in ledger.rules().items():
        yield "rule", [account, rule.value]
    for account, limits in ledger.limits().items():
        yield "limits", {"account": account, **limits._asdict()}
    for model, mode in ledger.modes().items():
        yield "mode", [model, mode]
    for model in ledger.models():
        for summary in track(ledger.summaries(model), f"accounts of {model}", "account"):
            state = ledger.account(model, summary.name)
            if not state.version:  # forgotten meanwhile
                continue
            history = {name: _packed(value) for name, value in asdict(state.history).items()}
            entry = {"model": model, "name": summary.name, "owed": state.owed, "usage": state.usage, "history": history}
            yield "account", entry


def _packed(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _line(kind: str, value: object) -> str:
    return json.dumps({kind: value}) + "\n"


def _first_line(path: Path) -> Mapping[str, int]:
    """Return the format that a file says to have. Raises LedgerFileError where it is no export."""
    with _opened(path) as lines:
        return _format_of(path, lines)


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the lines of an export between its first and its last, parsed and checked.

    Raises LedgerFileError, at the end for a file that is cut off.
    """
    with _opened(path) as lines:
        is_counted, count, end = _format_of(path, lines) == FORMAT, 0, None
        for number, line in enumerate(lines, 2):
            kind, value = _parsed(line, f"{path}, line {number}")
            if end is not None:
                raise LedgerFileError(f"{path} goes on after its last line: make another with calpow ledger export")
            if kind == "end":
                end = value
            else:
                count += 1
                yield kind, value
    if is_counted and end is None:
        raise LedgerFileError(
            f"{path} is cut off: its last line, which counts the others, is missing. Copy it again, or make another"
            " with calpow ledger export"
        )
    if end is not None and end != count:
        raise LedgerFileError(
            f"{path} has {count:,} lines of {end:,}: copy it again, or make another with calpow ledger export"
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Iterator[str]]:
    """Yield the lines of a file. Raises LedgerFileError where it cannot be read."""
    try:
        with path.open(encoding="utf-8") as lines:
            yield lines
    except (OSError, UnicodeDecodeError) as problem:
        raise LedgerFileError(f"{path} cannot be read: {problem}") from problem


def _format_of(path: Path, lines: Iterator[str]) -> Mapping[str, int]:
    first = next(lines, "")
    kind, value = _parsed(first, f"{path}, line 1") if first else ("", {})
    if kind != "format" or value not in (FORMAT, _UNCOUNTED):
        raise LedgerFileError(f"{path} is no export of a ledger: make one with calpow ledger export")
    return dict(value)


def _parsed(line: str, where: str) -> tuple[str, Any]:
    try:
        ((kind, value),) = json.loads(line).items()
        return kind, _PARSERS[kind](value)
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        RecursionError,
        LedgerError,
    ) as problem:
        hint = "" if line.endswith("\n") else ", which the file's end may have cut off: copy it again"
        raise LedgerFileError(f"{where}: this is no line of a ledger's export{hint}") from problem


def _parse_key(value: Mapping[str, Any]) -> KeyRecord:
    record = KeyRecord(**{**value, "digest": bytes.fromhex(value["digest"])})
    times = [time for time in (record.created, record.revoked, record.expires) if time is not None]
    if record.created is None or not all(map(math.isfinite, times)):
        raise ValueError
    return record._replace(id=_printable(record.id), account=_name(record.account))


def _parse_rule(value: Sequence[Any]) -> tuple[str, Rule]:
    account, rule = value
    return _name(account), Rule(rule)


def _parse_mode(value: Sequence[Any]) -> tuple[str, str]:
    model, mode = value
    return _printable(model), Mode(mode).value


def _parse_account(value: Mapping[str, Any]) -> tuple[str, Settlement]:
    past = value["history"]
    history = History(
        _number(past["cost_micro"]),
        _number(past["queries"]),
        tuple(map(_number, past["wealth"])),
        *(base64.b64decode(past[name], validate=True) for name in _SAMPLES),
    )
    if not has_whole_samples(history):
        raise ValueError
    # Exports of before there were limits have no usage.
    usage = Usage(*map(_number, value.get("usage", NO_USAGE)))
    settlement = Settlement(_name(value["name"]), 0, history, _number(value["owed"]), (), usage=usage)
    return _printable(value["model"]), settlement


def _parse_limits(value: Mapping[str, Any]) -> tuple[str, AccountLimits]:
    account, limits = _name(value["account"]), {name: value[name] for name in AccountLimits._fields}
    if len(value) != len(limits) + 1 or not all(_is_limit(name, limit) for name, limit in limits.items()):
        raise ValueError
    return account, AccountLimits(**limits)


def _is_limit(name: str, limit: object) -> bool:
    """Return whether a value is one that a limit can have: samples are integers, ceilings positive numbers."""
    if limit is None:
        return True
    kinds = (int, float) if name.startswith("ceiling") else (int,)
    return isinstance(limit, kinds) and not isinstance(limit, bool) and 0 <= limit < 2**53


def _printable(value: object) -> str:
    """Return a text that a ledger can keep and a terminal can show. Raises ValueError or TypeError."""
    if not isinstance(value, str):
        raise TypeError
    if not value.isprintable():
        raise ValueError
    return value


def _name(value: object) -> str:
    """Return the name of an account. Raises ValueError, TypeError or LedgerError.

    A ledger of an earlier version may have names that are given to no account any more.
    """
    name = _printable(value)
    check_account(name)
    return name


def _number(value: Any) -> int:
    """Return an integer that a ledger can keep. Raises ValueError, TypeError or OverflowError."""
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


_PARSERS: Mapping[str, Callable[[Any], object]] = {
    "format": dict,
    "key": _parse_key,
    "rule": _parse_rule,
    "limits": _parse_limits,
    "mode": _parse_mode,
    "account": _parse_account,
    "end": _number,
}
