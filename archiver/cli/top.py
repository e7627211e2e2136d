"""`calpow top`: the accounts of a ledger, live."""

import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from calpow.archiver.account_table import Samples, Snapshot, read_policy, table
from calpow.archiver.cli.account import a_query, model_option, models_of, policy_option
from calpow.archiver.cli.keys import ledger_option
from calpow.archiver.joint_rises import JointRises
from calpow.handler.ledger.uri import open_ledger

# Accounts that are printed where there is no terminal whose height limits them.
MOST_PRINTED = 20
MOST_GROUPS = 3

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

    new counts the samples since the last reading. Below are accounts whose evidence rises at the same times, which may
    be one user's. Where the output is no terminal, the accounts are printed once.
    """
    opened, known = open_ledger(ledger), None if policy is None else read_policy(policy)
    before: Samples | None = None
    rises = JointRises()
    with suppress(KeyboardInterrupt):
        while True:
            snapshot = Snapshot.take(opened, models_of(opened, model), known)
            rises.add(snapshot.evidence)
            if not sys.stdout.isatty():
                print(_page(snapshot, model, MOST_PRINTED, None, []))
                return
            click.clear()
            print(_page(snapshot, model, shutil.get_terminal_size().lines, before, rises.groups()), flush=True)
            before = snapshot.samples
            time.sleep(seconds)


def _page(
    snapshot: Snapshot, model: str | None, lines: int, before: Samples | None, groups: Sequence[Sequence[str]]
) -> str:
    """Return the totals, below them as many accounts as there are lines for, and the groups that rise together."""
    totals = snapshot.totals() or f"no account has sent {a_query(model)} yet"
    shown = [f"rising together: {', '.join(group)}" for group in groups[:MOST_GROUPS]]
    rows = snapshot.highest(max(1, lines - totals.count("\n") - 4 - len(shown)), before)
    return "\n".join([totals, *(["", table(rows)] if rows else []), *shown])
