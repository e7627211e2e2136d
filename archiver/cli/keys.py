"""`calpow keys`: add API keys, list them and revoke them."""

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import click

from calpow.archiver.cli.option_types import FILE, AccountName, Duration
from calpow.handler.errors import LedgerError
from calpow.handler.gate.probes import probe_account
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.api_key import ApiKey
from calpow.handler.ledger.holders import Key
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import DEFAULT_URI, URI_VARIABLE, open_ledger, without_password

_Command = TypeVar("_Command", bound=Callable[..., Any])

_EPILOG = """\b
Example:
  export CALPOW_LEDGER=sqlite:///ledger.db
  calpow keys add alice --expires 30d
  calpow keys list
"""
_REVOKE_EPILOG = """\b
Example (the id is the middle part of a key; a whole key will do as well):
  key=$(calpow keys add bob)
  calpow keys revoke $(echo $key | cut -d _ -f 2)
"""


def ledger_option(command: _Command) -> _Command:
    """Add the option --ledger."""
    option = click.option(
        "--ledger",
        metavar="URI",
        envvar=URI_VARIABLE,
        show_envvar=True,
        default=DEFAULT_URI,
        show_default=True,
        help="The workers' ledger.",
    )
    return option(command)


@click.group(epilog=_EPILOG, no_args_is_help=False)
def keys() -> None:
    """Add API keys, list them and revoke them."""


@keys.command(epilog=_EPILOG)
@click.argument("account", metavar="[ACCOUNT]", required=False, type=AccountName())
@click.option(
    "--expires",
    type=Duration(),
    metavar="TIME",
    help="Refuse the key after this time from now on: 90m, 12h, 30d or 52w (default: never).",
)
@click.option(
    "--probe",
    type=FILE,
    metavar="FILE",
    help="Make a key for probes: it gets the answer to this payload, as `calpow predict` sends it, and to no other.",
)
@ledger_option
def add(account: str | None, expires: float | None, probe: Path | None, ledger: str) -> None:
    """Make a key for an account and print it, this once.

    ACCOUNT is charged for what the key is used for; several keys may share an account. A key for probes has an account
    of its own, which pays the floor and collects no evidence.
    """
    if (account is None) == (probe is None):
        raise click.UsageError("name an ACCOUNT, or a --probe FILE", click.get_current_context())
    opened = open_ledger(ledger)
    if probe is not None:
        account = probe_account(read_probe(probe))
        opened.set_rule(account, Rule.PROBE)
    key = opened.add_key(account or "", None if expires is None else time.time() + expires)
    print(f"Only a hash of this key is kept, in {without_password(ledger)}: it cannot be shown again.", file=sys.stderr)
    print(key)


def read_probe(file: Path) -> object:
    """Return a file's payload as a server receives it from `calpow predict`: parsed, where it is JSON."""
    content = file.read_bytes()
    if file.suffix.lower() != ".json":
        return content
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{file} holds no JSON: {error}", click.get_current_context()) from error


@keys.command("list", epilog=_EPILOG)
@ledger_option
def list_keys(ledger: str) -> None:
    """List all keys: id, time of creation, valid, expired or revoked, account."""
    all_keys = open_ledger(ledger).keys()
    if not all_keys:
        print(f"No keys in {without_password(ledger)}: `calpow keys add ACCOUNT` makes one.", file=sys.stderr)
    for key in all_keys:
        print(_line(key))


@keys.command(epilog=_REVOKE_EPILOG)
@click.argument("key_id", metavar="KEY_ID")
@ledger_option
def revoke(key_id: str, ledger: str) -> None:
    """Refuse a key from now on; KEY_ID is as `calpow keys list` shows it."""
    opened = open_ledger(ledger)
    name = _id_of(opened, key_id)
    opened.revoke_key(name)
    print(f"Key {name} is refused from now on.", file=sys.stderr)


def _id_of(ledger: Ledger, given: str) -> str:
    """Return the id of a key that is given by its id or as a whole.

    Raises LedgerError for a whole key that is not in the ledger, without showing it: it may be good elsewhere, and the
    id in a made-up key may be that of another user's.
    """
    if not given.startswith("cp_"):
        return given
    key = ApiKey.read(given)
    if key is None or not any(key.matches(record.digest) for record in ledger.key_records()):
        raise LedgerError("the key that was given is not in this ledger: `calpow keys list` shows those there are")
    return key.id


def _line(key: Key) -> str:
    if key.revoked is not None:
        state = f"revoked {_time(key.revoked)}"
    elif key.expires is None:
        state = "valid"
    else:
        state = f"{'valid until' if key.expires > time.time() else 'expired'} {_time(key.expires)}"
    return f"{key.id}  {_time(key.created)}  {state}  {key.account}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
