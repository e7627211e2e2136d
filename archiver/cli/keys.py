"""`calpow keys`: hand out API keys, list them and take them back."""

import argparse
import sys
from collections.abc import Callable
from datetime import datetime, timezone

from calpow.handler.ledger import DEFAULT_URI, URI_VARIABLE, ledger_uri, open_ledger
from calpow.handler.ledger.ledger import Key

_EXAMPLE = """\
Example:
  export CALPOW_LEDGER=sqlite:///ledger.db
  calpow keys add alice
  calpow keys list
"""

_REVOKE_EXAMPLE = """\
Example (the id is the middle part of a key):
  key=$(calpow keys add bob)
  calpow keys revoke $(echo $key | cut -d _ -f 2)
"""


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `calpow keys add|list|revoke`."""
    keys = _parser(subparsers, "keys", "hand out API keys, list them and take them back", _EXAMPLE)
    actions = keys.add_subparsers(dest="action", metavar="add|list|revoke", required=True)

    add = _parser(actions, "add", "make a key for an account and print it, this once", _EXAMPLE)
    add.add_argument("account", metavar="ACCOUNT", help="whom to charge; several keys may share an account")
    _finish(add, _add)

    _finish(_parser(actions, "list", "list all keys: id, time made, valid or revoked, account", _EXAMPLE), _list)

    revoke = _parser(actions, "revoke", "refuse a key from now on", _REVOKE_EXAMPLE)
    revoke.add_argument("key_id", metavar="KEY_ID", help="as `calpow keys list` shows it")
    _finish(revoke, _revoke)


def _parser(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, purpose: str, example: str
) -> argparse.ArgumentParser:
    return subparsers.add_parser(
        name,
        help=purpose,
        description=purpose[0].upper() + purpose[1:] + ".",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument(
        "--ledger",
        metavar="URI",
        help=f"the workers' ledger (default: the environment's {URI_VARIABLE}, else {DEFAULT_URI})",
    )
    parser.set_defaults(run=run)


def _add(args: argparse.Namespace) -> int:
    key = open_ledger(ledger_uri(args.ledger)).add_key(args.account)
    print("Only a hash of this key is kept: it cannot be shown again.", file=sys.stderr)
    print(key)
    return 0


def _list(args: argparse.Namespace) -> int:
    uri = ledger_uri(args.ledger)
    keys = open_ledger(uri).keys()
    if not keys:
        print(f"No keys in {uri}: `calpow keys add ACCOUNT` makes one.", file=sys.stderr)
    for key in keys:
        print(_line(key))
    return 0


def _revoke(args: argparse.Namespace) -> int:
    open_ledger(ledger_uri(args.ledger)).revoke_key(args.key_id)
    print(f"Key {args.key_id} is refused from now on.", file=sys.stderr)
    return 0


def _line(key: Key) -> str:
    state = "valid" if key.revoked is None else f"revoked {_when(key.revoked)}"
    return f"{key.id}  {_when(key.created)}  {state}  {key.account}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
