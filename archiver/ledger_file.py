"""Export of a ledger: JSON lines that another ledger takes over, of whatever kind both are.

Keys (hashes only), rules, limits, modes and accounts are exported. Spent solutions and signing secrets are not: the
other ledger is a new deployment, in which nothing that was signed or minted for this one is worth anything. Decision
0013.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calpow.archiver.errors import LedgerFileError
from calpow.archiver.progress import track
from calpow.handler.ledger.history import History
from calpow.handler.ledger.ledger import KeyRecord, Ledger, Rule, Settlement
from calpow.handler.ledger.limits import NO_USAGE, AccountLimits, Usage

FORMAT = {"calpow-ledger": 1}
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
    """Write an export, which only this user can read. Raises LedgerUnavailable or LedgerFileError.

    Each account is as it was at one time; workers may go on meanwhile.
    """
    counts = dict.fromkeys(("key", "account"), 0)
    try:
        path.touch(mode=0o600)
        with path.open("w", encoding="utf-8") as file:
            for kind, value in _entries(ledger):
                counts[kind] = counts.get(kind, 0) + 1
                file.write(json.dumps({kind: value}) + "\n")
    except OSError as problem:
        raise LedgerFileError(f"{path} cannot be written: {problem.strerror}") from problem
    return Counts(counts["key"], counts["account"])


def import_ledger(ledger: Ledger, path: Path) -> Counts:
    """Take over an export into a ledger that has no key and no account yet.

    Raises LedgerFileError for one that has, and for a file that is no export; then nothing is written.
    """
    entries = _read(path)
    if ledger.keys() or ledger.models():
        raise LedgerFileError("the ledger has keys or accounts already: import into a new one")
    keys = [value for kind, value in entries if kind == "key"]
    accounts = [value for kind, value in entries if kind == "account"]
    for kind, value in entries:
        if kind == "rule":
            ledger.set_rule(value[0], value[1])
        elif kind == "limits":
            ledger.set_limits(*value)
        elif kind == "mode":
            ledger.set_mode(*value)
    for start in track(range(0, len(accounts), _AT_ONCE), "accounts", "hundred"):
        for model, settlement in accounts[start : start + _AT_ONCE]:
            ledger.settle(model, [settlement], now=0.0)
    # Last: nobody has a key before his account is there.
    ledger.restore_keys(keys)
    return Counts(len(keys), len(accounts))


def exported_accounts(path: Path) -> list[tuple[str, Settlement]]:
    """Return the accounts of an export: the model of each, and what writes it anew. Raises LedgerFileError."""
    return [value for kind, value in _read(path) if kind == "account"]


def _entries(ledger: Ledger) -> Iterator[tuple[str, object]]:
    """Yield the lines of an export, each as its kind and its value."""
    yield "format", FORMAT
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
            history = {name: _packed(value) for name, value in asdict(state.history).items()}
            entry = {"model": model, "name": summary.name, "owed": state.owed, "usage": state.usage, "history": history}
            yield "account", entry


def _packed(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _read(path: Path) -> list[tuple[str, Any]]:
    """Return the lines of an export, parsed and checked. Raises LedgerFileError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise LedgerFileError(f"{path} cannot be read: {problem}") from problem
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            ((kind, value),) = json.loads(line).items()
            entries.append((kind, _PARSERS[kind](value)))
        except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as problem:
            raise LedgerFileError(f"{path}, line {number}: this is no line of a ledger's export") from problem
    if not entries or entries[0] != ("format", FORMAT):
        raise LedgerFileError(f"{path} is no export of a ledger: make one with calpow ledger export")
    return entries


def _parse_key(value: Mapping[str, Any]) -> KeyRecord:
    return KeyRecord(**{**value, "digest": bytes.fromhex(value["digest"])})


def _parse_account(value: Mapping[str, Any]) -> tuple[str, Settlement]:
    past = value["history"]
    history = History(
        int(past["cost_micro"]),
        int(past["queries"]),
        tuple(map(int, past["wealth"])),
        *(base64.b64decode(past[name], validate=True) for name in _SAMPLES),
    )
    # Exports of before there were limits have no usage.
    usage = Usage(*map(int, value.get("usage", NO_USAGE)))
    return str(value["model"]), Settlement(str(value["name"]), 0, history, int(value["owed"]), (), usage=usage)


def _parse_limits(value: Mapping[str, Any]) -> tuple[str, AccountLimits]:
    account, limits = str(value["account"]), {name: value[name] for name in AccountLimits._fields}
    if len(value) != len(limits) + 1 or not all(_is_limit(name, limit) for name, limit in limits.items()):
        raise ValueError
    return account, AccountLimits(**limits)


def _is_limit(name: str, limit: object) -> bool:
    """Return whether a value is one that a limit can have: samples are integers, ceilings positive numbers."""
    if limit is None:
        return True
    kinds = (int, float) if name.startswith("ceiling") else (int,)
    return isinstance(limit, kinds) and not isinstance(limit, bool) and 0 <= limit < 2**53


_PARSERS: Mapping[str, Callable[[Any], object]] = {
    "format": dict,
    "key": _parse_key,
    "rule": lambda value: (str(value[0]), Rule(value[1])),
    "limits": _parse_limits,
    "mode": lambda value: (str(value[0]), str(value[1])),
    "account": _parse_account,
}
