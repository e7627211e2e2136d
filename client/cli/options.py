"""How much work a command may do: the options that say so."""

from __future__ import annotations

import argparse
import math

from calpow.client.protocol.exchange import DEFAULT_MAX_HASHES, DEFAULT_MAX_SECONDS


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add --max-hashes and --max-seconds."""
    parser.add_argument(
        "--max-hashes",
        type=positive_int,
        default=DEFAULT_MAX_HASHES,
        metavar="N",
        help="the most work to accept for one answer, in expected hashes (default: %(default)s)",
    )
    parser.add_argument(
        "--max-seconds",
        type=_positive_seconds,
        default=DEFAULT_MAX_SECONDS,
        metavar="S",
        help="the most time for the work of one answer; given up as soon as it will not do (default: %(default)g)",
    )


def positive_int(text: str) -> int:
    """Read a whole number from 1 on."""
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
