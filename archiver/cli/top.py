"""`calpow top`: the accounts of a ledger, live."""

import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import click

from calpow.archiver.account_table import Samples, Snapshot, read_policy, table
from calpow.archiver.cli.account import model_option, models_of, policy_option
from calpow.archiver.cli.keys import ledger_option
from calpow.handler.ledger.uri import open_ledger

# Accounts that are printed where there is no terminal whose height limits them.
MOST_PRINTED = 20

_EPILOG = """\b
Example:
  export CALPOW_LEDGER=sqlite:///ledger.db
  calpow top --policy model_store/digits.mar
"""


@click.command(epilog=_EPILOG)
@model_option
@policy_option
@click.option("--seconds", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Between two readings.")
@ledger_option
def top(model: str | None, policy: Path | None, seconds: float, ledger: str) -> None:
    """Watch the accounts of all models: those that stand highest first, until Ctrl-C.

    new counts the samples since the last reading. Where the output is no terminal, the accounts are printed once.
    """
    opened, known = open_ledger(ledger), None if policy is None else read_policy(policy)
    before: Samples | None = None
    with suppress(KeyboardInterrupt):
        while True:
            snapshot = Snapshot.take(opened, models_of(opened, model), known)
            if not sys.stdout.isatty():
                print(_page(snapshot, MOST_PRINTED, None))
                return
            click.clear()
            print(_page(snapshot, shutil.get_terminal_size().lines, before), flush=True)
            before = snapshot.samples
            time.sleep(seconds)


def _page(snapshot: Snapshot, lines: int, before: Samples | None) -> str:
    """Return the totals, and below them as many accounts as there are lines for."""
    totals = snapshot.totals() or "no account has sent a query yet"
    rows = snapshot.highest(max(1, lines - totals.count("\n") - 4), before)
    return f"{totals}\n\n{table(rows)}" if rows else totals
