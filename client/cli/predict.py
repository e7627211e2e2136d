"""`calpow predict`: send files to a protected model, do the work it asks for, tell the answers."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO

import requests

from calpow.client.cli.asking import STANDARD_INPUT, asking
from calpow.client.cli.bar import FilesBar, stamps_bar
from calpow.client.cli.exit_codes import FAILED, REFUSED
from calpow.client.cli.many import Run, Tally
from calpow.client.cli.options import add_limits, positive_int
from calpow.client.cli.output import resumed
from calpow.client.cli.results import Lines, Result
from calpow.client.protocol.problems import reason_in
from calpow.client.requests import PowAuth
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.solving.solver import Progress

KEY_VARIABLE = "CALPOW_KEY"

_DESCRIPTION = """\
Send files to a protected model, do the work it asks for, and print the answers.
A file is sent as `curl -T` sends it, a .json file as application/json.

One FILE: its answer's body is printed as it is. Several files, or --output: a line of JSON for each, as they are
answered: {"file": ..., "status": 200, "answer": ...}, the answer as JSON if it is, else as text, else in base64 with
"encoding": "base64"; and {"file": ..., "status": 400, "error": ...} for what was refused, status null for what could
not be asked. The same command again goes on where --output ends: a file with an answer in it is skipped, any other is
tried again, and its last line counts.

Ends early when the key is refused, or after three files in a row with no word from the server.
"""
_EPILOG = """\
Exit codes: 0 all answered; 1 the server refused some; 2 some could not be asked (a file that is missing, a server
that is not reached, more work than allowed), or none; 130 interrupted, and what was answered is told.

Example (in the project's folder, beside `make serve`):
  export CALPOW_KEY=$(calpow keys add me --ledger sqlite:///demo/ledger.db)
  calpow predict http://127.0.0.1:8080/predictions/digits "$(find demo -path '*users*.png' | head -n 1)"
  find demo -path '*users/0/*.png' -print0 |
    xargs -0 calpow predict http://127.0.0.1:8080/predictions/digits --jobs 4 --output answers.jsonl
"""


class StandardInputAmongFiles(CalpowError):
    """Standard input where files are told apart by their names."""


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "predict",
        help="send files to a protected model and print the answers",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="for example http://127.0.0.1:8080/predictions/digits")
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="a payload, sent once however often it is named; - for standard input"
    )
    parser.add_argument(
        "--key", default=os.environ.get(KEY_VARIABLE) or None, help=f"API key (default: ${KEY_VARIABLE})"
    )
    parser.add_argument(
        "--jobs",
        type=positive_int,
        default=1,
        metavar="N",
        help="how many files to ask for at once; their puzzles are solved one by one, each on all cores (default: 1)",
    )
    parser.add_argument("--output", metavar="OUTPUT.jsonl", help="append the lines to this file, and skip what it has")
    add_limits(parser)
    parser.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> int:
    files = list(dict.fromkeys(args.files))
    if len(files) == 1 and args.output is None:
        return _predict_one(args, files[0])
    if STANDARD_INPUT in files:
        raise StandardInputAmongFiles("standard input has no name to tell its answer by: give it alone, or a file")
    with _lines(args.output) as (lines, answered):
        left = [file for file in files if file not in answered]
        tally = _predict_many(args, left, len(files), lines)
    return _conclude(tally, len(left), args.output or "the lines above")


def _predict_one(args: argparse.Namespace, file: str) -> int:
    with stamps_bar() as progress, asking(args.url, _auth(args, progress, None), 1) as ask:
        response = ask(file)
    if response.status_code >= 400:
        _say(f"{response.status_code}: {reason_in(response)}")
        return REFUSED
    sys.stdout.buffer.write(response.content)
    sys.stdout.buffer.flush()
    return 0


def _predict_many(args: argparse.Namespace, files: Sequence[str], total: int, lines: Lines) -> Tally:
    bar = FilesBar(total - len(files), total)

    def take(result: Result) -> None:
        lines.write(result)
        bar.finishes()

    cancel = threading.Event()
    with asking(args.url, _auth(args, bar.solves, cancel), args.jobs) as ask:

        def ask_visibly(file: str) -> requests.Response:
            bar.asks(file)
            return ask(file)

        try:
            return Run(files, ask_visibly, take, cancel).with_threads(min(args.jobs, len(files)))
        finally:
            lines.close()  # before the connections: threads that an interrupt left behind would tell of their end
            bar.close()


def _auth(args: argparse.Namespace, progress: Callable[[Progress], None], cancel: threading.Event | None) -> PowAuth:
    return PowAuth(args.key, max_hashes=args.max_hashes, max_seconds=args.max_seconds, progress=progress, cancel=cancel)


@contextmanager
def _lines(output: str | None) -> Iterator[tuple[Lines, frozenset[str]]]:
    if output is not None:
        with resumed(output) as lines_and_answered:
            yield lines_and_answered
    else:
        sys.stdout.flush()
        with FileIO(sys.stdout.fileno(), "w", closefd=False) as file:
            yield Lines(file), frozenset()


def _conclude(tally: Tally, asked: int, where: str) -> int:
    left = asked - tally.answered - tally.refused - tally.failed
    if tally.stopped is not None:
        _say(f"{tally.stopped} ({left} of {asked} files were not tried)")
    elif tally.refused or tally.failed:
        _say(f"{tally.refused} of {asked} files were refused and {tally.failed} could not be asked: see {where}")
    if tally.failed:
        return FAILED
    return REFUSED if tally.refused else 0


def _say(line: str) -> None:
    print(f"calpow: {line}", file=sys.stderr)
