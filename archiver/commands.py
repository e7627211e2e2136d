"""The owner's and the operator's subcommands of `calpow`, in the order in which they are used."""

import argparse

from calpow.archiver import archive, calibrate, keys, report, simulate, teachers


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add every subcommand of this room."""
    for module in (teachers, calibrate, report, archive, keys, simulate):
        module.add_command(subparsers)
