"""`calpow predict`: send files to a protected model, do the work that it asks for, and print the answers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import FileIO

import click
import requests

from calpow.client.cli.bulk import BulkCounts, BulkPrediction
from calpow.client.cli.failures import FAILED, REFUSED, complain
from calpow.client.cli.file_sender import STANDARD_INPUT, FileSender
from calpow.client.cli.options import PartName, PositiveInteger, work_limits
from calpow.client.cli.progress_bars import FilesBar, stamps_bar
from calpow.client.cli.results import Result, ResultWriter, continued_results
from calpow.client.requests import PowAuth, reason_in
from calpow.client.token_file import TokenFile

_HELP = """Send files to a protected model, do the work it asks for, and print the answers.

URL is the model's, for example http://127.0.0.1:8080/predictions/digits. Each FILE is sent once, however often it is
named, as `curl -T` sends it, and a .json file as application/json; - is standard input. With --part NAME, it is sent as
the part of that name of a form, as `curl -F NAME=@FILE` sends it.

With one FILE, the body of its answer is printed as it is.

With several, or with --output, each FILE gets a line of JSON: {"file": ..., "status": 200, "answer": ...} or {"file":
..., "status": 400, "error": ...}. An answer that is not JSON is a string: its text or, with "encoding": "base64", its
bytes. The status is null if the file could not be sent.

To continue with an --output, run the same command again: a FILE with an answer in it is skipped, any other is tried
again, and its last line counts.

The command ends early if the key is refused, or after three files in a row without a response.
"""
_EPILOG = """\b
Exit codes: 0 all answered; 1 the server refused some; 2 some or all could not be sent (a missing file, a server that
is not reached, more work than allowed); 130 interrupted, and the answers so far are printed.

\b
Example (in the project's folder, beside `make serve`):
  export CALPOW_KEY=$(calpow keys add me --ledger sqlite:///demo/ledger.db)
  calpow predict http://127.0.0.1:8080/predictions/digits "$(find demo -path '*users*.png' | head -n 1)"
  find demo -path '*users/0/*.png' -print0 |
    xargs -0 calpow predict http://127.0.0.1:8080/predictions/digits --jobs 4 --output answers.jsonl
"""

# Creates a PowAuth with the key and the limits of the command line; takes `progress` and `cancel`.
_NewAuth = Callable[..., PowAuth]


@click.command(help=_HELP, epilog=_EPILOG)
@click.argument("url", metavar="URL")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(readable=False, allow_dash=True))
@click.option("--key", envvar="CALPOW_KEY", show_envvar=True, help="API key.")
@click.option(
    "--token-file",
    metavar="FILE",
    envvar="CALPOW_TOKEN_FILE",
    show_envvar=True,
    help="File with a token of an identity provider, instead of a key; it is read before each sending.",
)
@click.option(
    "--part",
    type=PartName(),
    metavar="NAME",
    help="Send each file as this part of a form, for handlers that take multipart requests (default: as the body).",
)
@click.option(
    "--jobs",
    type=PositiveInteger(),
    default=1,
    show_default=True,
    metavar="N",
    help="Files to send at once; their puzzles are solved one at a time, each on all cores.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, readable=False),
    metavar="OUTPUT.jsonl",
    help="Append the lines to this file, and skip the files that have an answer in it.",
)
@work_limits
def predict(
    url: str,
    files: tuple[str, ...],
    key: str | None,
    token_file: str | None,
    part: str | None,
    jobs: int,
    output: str | None,
    max_hashes: int,
    max_seconds: float,
) -> int:
    """Send files to a protected model and print the answers."""
    unique = list(dict.fromkeys(files))
    token = None if token_file is None else TokenFile(token_file).read
    new_auth = partial(PowAuth, key, token=token, max_hashes=max_hashes, max_seconds=max_seconds)
    if len(unique) == 1 and output is None:
        return _predict_one(url, part, unique[0], new_auth)
    if STANDARD_INPUT in unique:
        raise click.UsageError(
            "standard input has no name for its line of JSON: give it alone, or a file", click.get_current_context()
        )
    with _results(output) as (writer, answered):
        left = [file for file in unique if file not in answered]
        bar = FilesBar(len(unique) - len(left), len(unique))
        counts = _predict_many(url, part, left, new_auth, jobs, writer, bar)
    return _conclude(counts, len(left), output or "the lines above")


def _predict_one(url: str, part: str | None, file: str, new_auth: _NewAuth) -> int:
    with stamps_bar() as progress, FileSender(url, new_auth(progress=progress), 1, part) as sender:
        response = sender.send(file)
    if response.status_code >= 400:
        complain(f"{response.status_code}: {reason_in(response)}")
        return REFUSED
    # The shell's prompt begins on a line of its own.
    end = b"" if response.content.endswith(b"\n") or not sys.stdout.isatty() else b"\n"
    sys.stdout.buffer.write(response.content + end)
    sys.stdout.buffer.flush()
    return 0


def _predict_many(
    url: str,
    part: str | None,
    files: Sequence[str],
    new_auth: _NewAuth,
    jobs: int,
    writer: ResultWriter,
    bar: FilesBar,
) -> BulkCounts:
    def write(result: Result) -> None:
        writer.write(result)
        bar.finish_file()

    cancel = threading.Event()
    threads = min(jobs, len(files))
    with FileSender(url, new_auth(progress=bar.show_work, cancel=cancel), threads, part) as sender:

        def send(file: str) -> requests.Response:
            bar.start_file(file)
            return sender.send(file)

        try:
            return BulkPrediction(files, send, write, cancel).run(threads)
        finally:
            # Before the connections are closed: threads that an interrupt leaves behind would write lines about that.
            writer.close()
            bar.close()


@contextmanager
def _results(output: str | None) -> Iterator[tuple[ResultWriter, frozenset[str]]]:
    if output is not None:
        with continued_results(output) as writer_and_answered:
            yield writer_and_answered
    else:
        sys.stdout.flush()
        with FileIO(sys.stdout.fileno(), "w", closefd=False) as file:
            yield ResultWriter(file), frozenset()


def _conclude(counts: BulkCounts, total: int, place: str) -> int:
    """Report in one line the files without an answer, if there are any; return the exit code."""
    if counts.stopped is not None:
        untried = total - counts.answered - counts.refused - counts.failed
        complain(f"{counts.stopped} ({untried} of {total} files were not tried)")
    elif counts.refused or counts.failed:
        numbers = f"{counts.answered} answered, {counts.refused} refused, {counts.failed} not sent"
        complain(f"{total} files: {numbers} (see {place})")
    if counts.failed:
        return FAILED
    return REFUSED if counts.refused else 0
