"""The API consumer's subcommands of `calpow`."""

from __future__ import annotations

import argparse

from calpow.client.cli import predict
from calpow.client.cli import puzzle_cost as cost
from calpow.client.cli import solve as solving


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add every subcommand of this room."""
    for module in (predict, solving, cost):
        module.add_command(subparsers)
