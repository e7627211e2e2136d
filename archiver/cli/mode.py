"""`calpow mode`: whether a model's users are asked for work, changed while workers run."""

import sys

import click

from calpow.archiver.cli.keys import ledger_option
from calpow.handler.config import Mode
from calpow.handler.ledger.uri import open_ledger, without_password

PACKAGED = "packaged"

_EPILOG = """\b
Example:
  export CALPOW_LEDGER=sqlite:///ledger.db
  calpow mode digits observe
  calpow mode
"""


@click.command(epilog=_EPILOG)
@click.argument("model", metavar="[MODEL]", required=False)
@click.argument("mode", metavar="[MODE]", required=False, type=click.Choice([*(mode.value for mode in Mode), PACKAGED]))
@ledger_option
def mode(model: str | None, mode: str | None, ledger: str) -> None:
    """Show the modes that were set, or set that of MODEL, by its name in TorchServe.

    enforce asks for work; observe accounts for queries and records them, and blocks nobody; off answers everybody and
    keeps nothing; packaged is the mode that `calpow archive` was given. Workers follow within two seconds, on every
    node that has this ledger. What observe sees counts when enforce follows.
    """
    opened = open_ledger(ledger)
    if model is None or mode is None:
        modes = opened.modes()
        shown = modes if model is None else {model: modes.get(model, PACKAGED)}
        for name, value in shown.items():
            print(f"{name}  {value}")
        if not shown:
            print(
                f"Every model has the mode that it was packaged with, by {without_password(ledger)}.", file=sys.stderr
            )
        return
    opened.set_mode(model, None if mode == PACKAGED else mode)
    print(f"{model}: {mode} within two seconds, on every node with this ledger.", file=sys.stderr)
    if model not in opened.models():
        print(f"No account has queried a model {model} yet: is this its name in TorchServe?", file=sys.stderr)
