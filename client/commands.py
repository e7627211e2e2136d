"""The API consumer's commands: `calpow predict` and `calpow solve`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import requests
from tqdm import tqdm

from calpow.client.auth import PowAuth
from calpow.client.problems import reason_in
from calpow.client.protocol import DEFAULT_MAX_HASHES
from calpow.puzzle.challenge import SOLUTION_HEADER, Challenge, format_solution
from calpow.puzzle.solver import Progress, solve

REFUSED = 1
KEY_VARIABLE = "CALPOW_KEY"

# Seconds to connect, and to wait for the answer: longer than TorchServe itself lets a model think.
_TIMEOUT = (10, 300)

_PREDICT_EXAMPLE = """\
Example (in the project's folder, beside `make serve`):
  export CALPOW_KEY=$(calpow keys add me --ledger sqlite:///demo/ledger.db)
  calpow predict http://127.0.0.1:8080/predictions/digits "$(find demo -path '*users*.png' | head -n 1)"
"""
_SOLVE_EXAMPLE = """\
With curl, the same request twice:
  curl -o challenge.json -H "X-Api-Key: $CALPOW_KEY" -T FILE URL
  curl -H "X-Api-Key: $CALPOW_KEY" -H "$(calpow solve challenge.json)" -T FILE URL

Example (the token is made up, the work is real):
  echo '{"challenge": {"token": "e30.e30.c2ln", "id": "5f0c", "algorithm": "hashcash-sha1",
    "bits": 12, "count": 16, "expires": "2026-01-15T12:05:00Z"}}' | calpow solve -
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the consumer's commands."""
    _add_predict(subparsers)
    _add_solve(subparsers)


def _add_predict(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "predict",
        help="send a file to a protected model and print the answer",
        description="Send FILE to a protected model, do the work it asks for, and print the answer's body.\n"
        "The file is sent as `curl -T` sends it, a .json file as application/json.\n"
        "If the server refuses: one line on stderr, exit code 1.",
        epilog=_PREDICT_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="for example http://127.0.0.1:8080/predictions/digits")
    parser.add_argument("file", metavar="FILE", help="the payload; - for standard input")
    parser.add_argument(
        "--key", default=os.environ.get(KEY_VARIABLE) or None, help=f"API key (default: ${KEY_VARIABLE})"
    )
    parser.add_argument(
        "--max-hashes",
        type=int,
        default=DEFAULT_MAX_HASHES,
        metavar="N",
        help="the most work to accept, in expected hashes (default: %(default)s)",
    )
    parser.set_defaults(run=_predict)


def _add_solve(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "solve",
        help="solve a saved challenge and print the header that answers it",
        description="Solve the challenge in the saved body of a 402 and print the header line for the next try.",
        epilog=_SOLVE_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("challenge", metavar="CHALLENGE.json", help="the body of a 402; - for standard input")
    parser.set_defaults(run=_solve)


def _predict(args: argparse.Namespace) -> int:
    headers = {"Content-Type": "application/json"} if args.file.endswith(".json") else {}
    with _payload(args.file) as body, _progress_bar() as progress:
        auth = PowAuth(args.key, max_hashes=args.max_hashes, progress=progress)
        response = requests.post(args.url, data=body, headers=headers, auth=auth, timeout=_TIMEOUT)
    if response.status_code >= 400:
        print(f"calpow: {response.status_code}: {reason_in(response)}", file=sys.stderr)
        return REFUSED
    sys.stdout.buffer.write(response.content)
    sys.stdout.buffer.flush()
    return 0


def _solve(args: argparse.Namespace) -> int:
    text = sys.stdin.buffer.read() if args.challenge == "-" else Path(args.challenge).read_bytes()
    challenge = Challenge.from_problem(text)
    with _progress_bar() as progress:
        stamps = solve(challenge.puzzle, progress=progress)
    print(f"{SOLUTION_HEADER}: {format_solution(challenge.token, stamps)}")
    return 0


def _payload(file: str) -> AbstractContextManager[BinaryIO]:
    if file == "-":
        return nullcontext(BytesIO(sys.stdin.buffer.read()))  # a pipe could be sent only once
    return Path(file).open("rb")


@contextmanager
def _progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr if that is a terminal; it begins anew with every challenge."""
    # The delay keeps the bar away until the first challenge resets it.
    with tqdm(desc="proof of work", unit="stamp", leave=False, disable=None, delay=1e-3) as bar:

        def show(progress: Progress) -> None:
            if progress.found == 0:
                bar.reset(total=progress.count)
            bar.update(progress.found - bar.n)

        yield show
