"""The owner's and the operator's subcommands of `calpow`, in the order in which they are used."""

import argparse

from calpow.archiver import packaging as archive
from calpow.archiver.cli import calibrate, keys, neighbours, report, simulate, teachers


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add every subcommand of this room."""
    for module in (teachers, neighbours, calibrate, report, archive, keys, simulate):
        module.add_command(subparsers)
