"""`calpow ledger`: move, verify, prune and back up a ledger, and renew its secret."""

import os
import sys
from pathlib import Path

import click

from calpow.archiver.cli.keys import ledger_option
from calpow.archiver.cli.results import file_size
from calpow.archiver.errors import LedgerFileError
from calpow.archiver.ledger_care.backup import back_up
from calpow.archiver.ledger_care.inspection import Inspection
from calpow.archiver.ledger_care.ledger_file import Counts, export_ledger, import_ledger
from calpow.archiver.ledger_care.moving import move_ledger
from calpow.archiver.ledger_care.pruning import count_expired, drop_expired, unchanged_since, without_keys
from calpow.archiver.ledger_care.sqlite_inspection import inspect_sqlite
from calpow.archiver.progress import log_notes
from calpow.handler.identity.identity_settings import IdentitySettings
from calpow.handler.ledger.sqlite.sqlite_file import SqliteFile
from calpow.handler.ledger.sqlite.sqlite_freeze import thaw
from calpow.handler.ledger.sqlite.sqlite_schema import SCHEMA
from calpow.handler.ledger.uri import is_redis, open_ledger, sqlite_path, without_password
from calpow.puzzle.counting import counted

_EPILOG = """\b
Example (moves everything into another file):
  calpow ledger export accounts.jsonl --ledger sqlite:///ledger.db
  calpow ledger import accounts.jsonl --ledger sqlite:///other.db
"""
_MOVE_EPILOG = """\b
Example (moves a ledger, and makes the old one usable again):
  calpow keys add ada --ledger sqlite:///ledger.db
  calpow ledger move sqlite:///other.db --ledger sqlite:///ledger.db
  calpow ledger thaw --ledger sqlite:///ledger.db
"""
_VERIFY_EPILOG = """\b
Example (makes a ledger, and verifies it):
  calpow keys add ada --ledger sqlite:///ledger.db
  calpow ledger verify --ledger sqlite:///ledger.db
"""
_BACKUP_EPILOG = """\b
Example (makes a ledger, and copies it):
  calpow keys add ada --ledger sqlite:///ledger.db
  calpow ledger backup "ledger-$(date +%F-%H%M%S).db" --ledger sqlite:///ledger.db
"""
_ROTATE_EPILOG = """\b
Example (makes a ledger, and renews its secret):
  calpow keys add ada --ledger sqlite:///ledger.db
  calpow ledger rotate-secret --ledger sqlite:///ledger.db
"""
_PRUNE_EPILOG = """\b
Example (shows what would be forgotten, then forgets what nobody has a key for):
  calpow keys add ada --ledger sqlite:///ledger.db
  calpow ledger prune --revoked 90 --dry-run --ledger sqlite:///ledger.db
  calpow ledger prune --revoked 90 --ledger sqlite:///ledger.db
"""


@click.group(epilog=_EPILOG, no_args_is_help=False)
def ledger() -> None:
    """Move, verify, prune and back up a ledger, and renew its secret."""


@ledger.command("export", epilog=_EPILOG)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@ledger_option
def export_command(file: Path, ledger: str) -> None:
    """Write keys (hashes only), rules, limits, modes and accounts to a new FILE, while workers go on.

    Spent solutions and secrets are not exported: a ledger that takes the file over refuses what was signed for this
    one. Each account is as it was at one time between the beginning and the end of the export.
    """
    counts = export_ledger(open_ledger(ledger), file)
    print(f"{_in_words(counts)} in {file} ({file_size(file)}).", file=sys.stderr)


@ledger.command("import", epilog=_EPILOG)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@ledger_option
def import_command(file: Path, ledger: str) -> None:
    """Take over an export into a ledger that has no key and no account yet."""
    counts = import_ledger(open_ledger(ledger), file)
    print(f"{_in_words(counts)} came into {without_password(ledger)}.", file=sys.stderr)


@ledger.command(epilog=_MOVE_EPILOG)
@click.argument("new", metavar="NEW_URI")
@ledger_option
def move(new: str, ledger: str) -> None:
    """Move a ledger in SQLite to NEW_URI, such as redis://host:6379/0, while workers serve.

    Keys, rules, modes and accounts are copied. For the last part, and until workers are started with NEW_URI, the old
    ledger refuses changes: requests that pay get 503 with Retry-After. The new one is another deployment: clients
    solve one more challenge. If anything fails, the old ledger takes changes again.
    """
    if is_redis(ledger):
        raise LedgerFileError("only a ledger in SQLite can be moved while workers serve: stop them, export and import")
    counts = move_ledger(sqlite_path(ledger), open_ledger(new), without_password(new))
    print(f"{_in_words(counts)} came into {without_password(new)}.", file=sys.stderr)
    print("Start the workers again with CALPOW_LEDGER set to it: until then, they refuse with 503.", file=sys.stderr)


@ledger.command("thaw", epilog=_MOVE_EPILOG)
@ledger_option
def thaw_command(ledger: str) -> None:
    """Let a ledger that was moved take changes again.

    Only where no worker has the new one yet: what was paid and charged there would be lost.
    """
    if is_redis(ledger):
        raise LedgerFileError("a ledger in Redis is never frozen")
    was_frozen = thaw(SqliteFile(sqlite_path(ledger), SCHEMA))
    after = ". Start no worker with the ledger that it had moved to" if was_frozen else ", as it did before"
    print(f"{ledger} takes changes{after}.", file=sys.stderr)


@ledger.command(epilog=_VERIFY_EPILOG)
@ledger_option
def verify(ledger: str) -> int:
    """Read a whole ledger, and list what is wrong with it.

    Nothing is written, and workers go on. The exit code is 1 where something is wrong. Of a server of Redis, settings
    that may lose spent solutions are found as well. A file that was moved is whole: a note says that it was.
    """
    inspection = _inspect(ledger)
    counts = ", ".join(counted(number, name.removesuffix("s")) for name, number in inspection.counts.items())
    sound = "" if inspection.faults else " Nothing is wrong with it."
    print(f"{counts or 'Nothing could be counted'} in {without_password(ledger)}.{sound}", file=sys.stderr)
    log_notes(inspection.notes)
    for fault in inspection.faults:
        print(fault)
    return 1 if inspection.faults else 0


@ledger.command(epilog=_BACKUP_EPILOG)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@ledger_option
def backup(file: Path, ledger: str) -> None:
    """Back up a ledger to a new FILE while workers go on.

    Of a ledger in SQLite, FILE is a copy as it is at one time, with the secrets and the keys' hashes. Never serve with
    it beside the ledger, and put it back as docs/deploy.md says: it does not know what was spent after it was made. Of
    a ledger in Redis, FILE is what `calpow ledger export` writes: `calpow ledger import` makes a new ledger of it.
    """
    if is_redis(ledger):
        counts = export_ledger(open_ledger(ledger), file)
        print(f"{file} ({file_size(file)}) has {_in_words(counts)} of {without_password(ledger)}.", file=sys.stderr)
        print(f"To restore it: calpow ledger import {file} --ledger URI, a new one (?prefix=NAME)", file=sys.stderr)
        return
    back_up(sqlite_path(ledger), file)
    print(f"{file} ({file_size(file)}) is a copy of {ledger}.", file=sys.stderr)


@ledger.command(epilog=_PRUNE_EPILOG)
@click.option(
    "--revoked",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Also forget accounts all of whose keys were revoked or expired so many days ago or earlier, whatever they"
    " have done.",
)
@click.option(
    "--unchanged-since",
    "export",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="EXPORT",
    help="Also forget accounts that are as in this earlier file of `calpow ledger export`, and have nothing held"
    " against them.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be forgotten, and forget nothing.")
@ledger_option
def prune(revoked: float | None, export: Path | None, dry_run: bool, ledger: str) -> None:
    """Forget ids and solutions that have expired, and accounts, if asked to, while workers go on.

    An account that is forgotten begins as a new one if it comes back, and pays again for samples that it was answered.
    Each one is printed. A file in SQLite does not shrink: what comes next takes the room. Accounts that tokens or a
    proxy may name are never forgotten for their keys; where their prefixes are not the usual ones, set CALPOW_IDENTITY
    as for the workers.
    """
    opened, prefixes = open_ledger(ledger), IdentitySettings.load(os.environ).prefixes
    # First: an export that cannot be read leaves everything as it is.
    prunable = [] if export is None else list(unchanged_since(opened, export))
    if not is_redis(ledger):  # Redis forgets them by itself
        path = sqlite_path(ledger)
        expired = count_expired(path) if dry_run else drop_expired(path)
        print(f"Expired ids and solutions{' to be' if dry_run else ''} deleted: {expired:,}.", file=sys.stderr)
    prunable += [] if revoked is None else list(without_keys(opened, revoked, prefixes))
    forgotten = 0
    for model, name, version in dict.fromkeys(prunable):
        if dry_run or opened.forget(model, name, version):
            forgotten += 1
            print(f"{model}  {name}")
    print(f"{counted(forgotten, 'account')}{' would be' if dry_run else ''} forgotten.", file=sys.stderr)


def _in_words(counts: Counts) -> str:
    return f"{counted(counts.keys, 'key')}, {counted(counts.accounts, 'account')}"


def _inspect(uri: str) -> Inspection:
    """Verify a ledger. The client of Redis is imported for one in Redis only."""
    if not is_redis(uri):
        return inspect_sqlite(sqlite_path(uri))
    open_ledger(uri)  # says so where redis-py is missing
    from calpow.archiver.ledger_care.redis_inspection import inspect_redis

    return inspect_redis(uri)


@ledger.command("rotate-secret", epilog=_ROTATE_EPILOG)
@ledger_option
def rotate_secret(ledger: str) -> None:
    """Sign challenges with a new secret from now on, within ten seconds on every node.

    Open challenges stay good. Those that the secret before the last has signed do not: run this twice, with a
    minute in between, to make a secret that leaked worthless.
    """
    secret = open_ledger(ledger).rotate_secret()
    print(f"Secret {secret.id} signs challenges within ten seconds.", file=sys.stderr)
