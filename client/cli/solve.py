"""`calpow solve`: solve a saved challenge, for users of curl."""

from __future__ import annotations

import os
import stat
import sys
import time
from datetime import datetime, timezone

import click

from calpow.client.cli.options import work_limits
from calpow.client.cli.progress_bars import stamps_bar
from calpow.client.cli.saved_challenge import SavedChallenge
from calpow.client.errors import UnsolvableInTime
from calpow.puzzle.errors import SolvingTooLong
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve as solve_puzzle
from calpow.puzzle.wire import SOLUTION_HEADER, format_solution

_EPILOG = """\b
Exit codes: 0 solved; 2 not solved (no challenge, expired, or more work than allowed); 130 interrupted.

\b
With curl, until the model answers (more than one challenge may come):
  ask() { curl -s -H "X-Api-Key: $CALPOW_KEY" "$@" -T FILE -o body -w '%{http_code}' URL; }
  status=$(ask)
  while [ "$status" = 402 ] && solution=$(calpow solve body); do status=$(ask -H "$solution"); done
  cat body

\b
Example (the token is made up, the work is real):
  echo '{"challenge": {"token": "e30.e30.c2ln", "id": "5f0c", "algorithm": "hashcash-sha1",
    "bits": 12, "count": 16, "expires": "2099-01-15T12:05:00Z"}}' | calpow solve -
"""


@click.command(epilog=_EPILOG)
@click.argument("challenge", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--header", metavar="LINE", help="The header WWW-Authenticate, or its value: 'PoW realm=...'.")
@work_limits
def solve(challenge: str | None, header: str | None, max_hashes: int, max_seconds: float) -> None:
    """Solve a challenge and print the header line with which to send the same request again.

    CHALLENGE is a file with the body of a 402, or with the output of `curl -i` or `curl -D` (the last response in it
    counts), or - for standard input; --header takes the header WWW-Authenticate instead. Send no other PoW-Solution
    beside the printed one. A challenge that has expired is not solved.
    """
    saved, age = _read(challenge, header)
    lifetime = saved.seconds_left(age, datetime.now(timezone.utc))
    stamps = _stamps(saved.challenge.puzzle, max_hashes, max_seconds, lifetime)
    print(f"{SOLUTION_HEADER}: {format_solution(saved.challenge.token, stamps)}")


def _stamps(puzzle: Puzzle, max_hashes: int, max_seconds: float, lifetime: float) -> list[str]:
    limit = min(max_seconds, lifetime)
    with stamps_bar() as progress:
        try:
            return solve_puzzle(puzzle, max_hashes=max_hashes, max_seconds=limit, progress=progress)
        except SolvingTooLong as error:
            if lifetime < max_seconds:
                raise UnsolvableInTime(error.expected_seconds, lifetime) from error
            raise


def _read(path: str | None, header: str | None) -> tuple[SavedChallenge, float]:
    """Return the challenge, and how many seconds ago it was saved."""
    if (path is None) == (header is None):
        raise click.UsageError("Give either CHALLENGE or --header.", click.get_current_context())
    if header is not None:
        return SavedChallenge.from_header(header), 0.0
    if path == "-":
        return SavedChallenge.from_bytes(sys.stdin.buffer.read()), 0.0
    with open(str(path), "rb") as file:
        return SavedChallenge.from_bytes(file.read()), _age(os.fstat(file.fileno()))


def _age(status: os.stat_result) -> float:
    # This machine's clock may be wrong, but it was as wrong when the file was saved.
    return max(0.0, time.time() - status.st_mtime) if stat.S_ISREG(status.st_mode) else 0.0
