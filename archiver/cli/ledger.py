"""`calpow ledger`: export a ledger, import it into another one, and renew its secret."""

import sys
from pathlib import Path

import click

from calpow.archiver.cli.keys import ledger_option
from calpow.archiver.cli.results import file_size
from calpow.archiver.ledger_file import export_ledger, import_ledger
from calpow.handler.ledger.uri import open_ledger, without_password

_EPILOG = """\b
Example (moves everything into another file):
  calpow ledger export accounts.jsonl --ledger sqlite:///ledger.db
  calpow ledger import accounts.jsonl --ledger sqlite:///other.db
"""


@click.group(epilog=_EPILOG, no_args_is_help=False)
def ledger() -> None:
    """Export a ledger, import it into another one, and renew its secret."""


@ledger.command("export", epilog=_EPILOG)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@ledger_option
def export_command(file: Path, ledger: str) -> None:
    """Write keys (hashes only), rules, modes and accounts to FILE, while workers go on.

    Spent solutions and secrets are not exported: a ledger that takes the file over refuses what was signed for this
    one. What accounts do after the export is not in it.
    """
    counts = export_ledger(open_ledger(ledger), file)
    print(f"{counts.keys:,} keys, {counts.accounts:,} accounts in {file} ({file_size(file)}).", file=sys.stderr)


@ledger.command("import", epilog=_EPILOG)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@ledger_option
def import_command(file: Path, ledger: str) -> None:
    """Take over an export into a ledger that has no key and no account yet."""
    counts = import_ledger(open_ledger(ledger), file)
    print(f"{counts.keys:,} keys, {counts.accounts:,} accounts are in {without_password(ledger)}.", file=sys.stderr)


@ledger.command("rotate-secret", epilog=_EPILOG)
@ledger_option
def rotate_secret(ledger: str) -> None:
    """Sign challenges with a new secret from now on, within ten seconds on every node.

    Open challenges stay good. Those that the secret before the last has signed do not: run this twice, with a
    minute in between, to make a secret that leaked worthless.
    """
    secret = open_ledger(ledger).rotate_secret()
    print(f"Secret {secret.id} signs challenges within ten seconds.", file=sys.stderr)
