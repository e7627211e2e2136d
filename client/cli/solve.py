"""`calpow solve`: solve a saved challenge, for whoever asks with curl."""

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from datetime import datetime, timezone

from calpow.client.cli.asking import STANDARD_INPUT
from calpow.client.cli.bar import stamps_bar
from calpow.client.cli.options import add_limits
from calpow.client.cli.saved import Saved
from calpow.client.errors import UnsolvableInTime
from calpow.puzzle.errors import SolvingTooLong
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import SOLUTION_HEADER, format_solution

_DESCRIPTION = """\
Solve a challenge and print the header line that pays for the same request, alone.
The challenge is the saved body of a 402, or what `curl -i` or `curl -D` wrote (the last response in it counts),
or the header WWW-Authenticate. One that has expired is not solved.
"""
_EPILOG = """\
Exit codes: 0 solved; 2 not (no challenge, expired, or more work than allowed); 130 interrupted.

With curl, as long as challenges come (the rest of a price may follow):
  ask() { curl -s -H "X-Api-Key: $CALPOW_KEY" "$@" -T FILE -o body -w '%{http_code}' URL; }
  status=$(ask)
  while [ "$status" = 402 ] && solution=$(calpow solve body); do status=$(ask -H "$solution"); done
  cat body

Example (the token is made up, the work is real):
  echo '{"challenge": {"token": "e30.e30.c2ln", "id": "5f0c", "algorithm": "hashcash-sha1",
    "bits": 12, "count": 16, "expires": "2099-01-15T12:05:00Z"}}' | calpow solve -
"""


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "solve",
        help="solve a saved challenge and print the header that answers it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("challenge", metavar="CHALLENGE", nargs="?", help="where it is saved; - for standard input")
    source.add_argument("--header", metavar="LINE", help="the header WWW-Authenticate, or its value: 'PoW realm=...'")
    add_limits(parser)
    parser.set_defaults(run=_solve)


def _solve(args: argparse.Namespace) -> int:
    saved, age = _read(args)
    lifetime = saved.seconds_left(age, datetime.now(timezone.utc))
    stamps = _stamps(saved.challenge.puzzle, args, lifetime)
    print(f"{SOLUTION_HEADER}: {format_solution(saved.challenge.token, stamps)}")
    return 0


def _stamps(puzzle: Puzzle, args: argparse.Namespace, lifetime: float) -> list[str]:
    limit = min(args.max_seconds, lifetime)
    with stamps_bar() as progress:
        try:
            return solve(puzzle, max_hashes=args.max_hashes, max_seconds=limit, progress=progress)
        except SolvingTooLong as error:
            if lifetime < args.max_seconds:
                raise UnsolvableInTime(error.expected_seconds, lifetime) from error
            raise


def _read(args: argparse.Namespace) -> tuple[Saved, float]:
    """The challenge, and the seconds since it was saved."""
    if args.header is not None:
        return Saved.from_header(args.header), 0.0
    if args.challenge == STANDARD_INPUT:
        data = sys.stdin.buffer.read()
        return Saved.from_bytes(data), 0.0
    with open(args.challenge, "rb") as file:  # not Path, for which no name is this folder's
        return Saved.from_bytes(file.read()), _age(os.fstat(file.fileno()))


def _age(status: os.stat_result) -> float:
    # Both by this machine, whose clock may be wrong, but as wrong when it saved the file.
    return max(0.0, time.time() - status.st_mtime) if stat.S_ISREG(status.st_mode) else 0.0
