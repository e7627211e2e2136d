"""Memory of a guarded worker beside the victim's own, and over many prepaid answers: run after `make demo`.

python -m benchmarks.serving.memory                       100,000 answers: about ten minutes
python -m benchmarks.serving.memory --answers 5000        half a minute
"""

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from benchmarks.command_line import command_parser
from benchmarks.serving.demo_model import PROTECTED, ROOT, UNPROTECTED, add_model_options, require, shuffled
from benchmarks.serving.light_client import BadAnswer, Connection, burst, request
from benchmarks.serving.load import MOST_WITHHELD, prepay
from calpow.archiver.progress import progress
from calpow.archiver.server import Server, served
from calpow.handler.ledger.uri import URI_VARIABLE, open_ledger
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER

ANSWERS = 100_000
ACCOUNTS = 500
ROUND = 500
CONNECTIONS = 4
# Memory is read so many times.
READINGS = 10
MIB = 2**20


@dataclass(frozen=True)
class Reading:
    """Bytes of a worker after so many answers.

    anonymous: what is no part of a file. proportional: with its share of the files that other processes have in
    memory, too. resident: with all of these.
    """

    answers: int
    anonymous: int
    proportional: int
    resident: int

    @classmethod
    def of(cls, pid: int, answers: int) -> "Reading":
        """Read the memory of a process."""
        memory = psutil.Process(pid).memory_full_info()
        return cls(answers, memory.rss - memory.shared, memory.pss, memory.rss)


class Pair:
    """An unprotected and a protected worker on one server, and a client of both."""

    def __init__(self, server: Server, ledger: str, payloads: Sequence[bytes]) -> None:
        self._urls = {name: server.url(name) for name in (UNPROTECTED, PROTECTED)}
        self._pids = {name: server.worker_pids(name)[0] for name in self._urls}
        ledger_of_server = open_ledger(ledger)
        self._keys = itertools.cycle([ledger_of_server.add_key(f"user-{number}") for number in range(ACCOUNTS)])
        self._payloads = itertools.cycle(payloads)
        first = self._post(PROTECTED, {KEY_HEADER: next(self._keys)})
        self._offer = Connection(self._urls[PROTECTED]).ask(first).header("WWW-Authenticate")

    def read(self, name: str, answers: int) -> Reading:
        """Read the memory of one of the workers."""
        return Reading.of(self._pids[name], answers)

    def ask(self, name: str, count: int) -> None:
        """Send so many queries to one of the models, to the protected one prepaid ones."""
        headers = [{}] * count if name == UNPROTECTED else [self._payment() for _ in range(count)]
        sent = [self._post(name, header) for header in headers]
        burst(self._urls[name], sent, CONNECTIONS, 200, others={402: MOST_WITHHELD})

    def _payment(self) -> dict[str, str]:
        key = next(self._keys)
        return {KEY_HEADER: key, SOLUTION_HEADER: prepay(key, self._offer)}

    def _post(self, name: str, headers: dict[str, str]) -> bytes:
        return request(self._urls[name], next(self._payloads), headers)


def measure(pair: Pair, answers: int) -> dict[str, list[Reading]]:
    """Return readings of both workers, the first one after no query at all."""
    readings = {name: [pair.read(name, 0)] for name in (UNPROTECTED, PROTECTED)}
    with progress("answers", "answer", answers) as advance:
        for done in range(ROUND, answers + 1, ROUND):
            pair.ask(PROTECTED, ROUND)
            # Enough to see whether it grows, at any number of answers.
            pair.ask(UNPROTECTED, ROUND // 5)
            advance(ROUND)
            if done == ROUND or done % (answers // READINGS) < ROUND:
                for name, column in readings.items():
                    column.append(pair.read(name, done))
    return readings


def table(readings: dict[str, list[Reading]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, in MiB."""
    yield "| answers | unprotected: anonymous / share / resident | guarded: the same | difference |"
    yield "|---:|---|---|---|"
    for plain, guarded in zip(readings[UNPROTECTED], readings[PROTECTED], strict=True):
        pairs = [
            (plain.anonymous, guarded.anonymous),
            (plain.proportional, guarded.proportional),
            (plain.resident, guarded.resident),
        ]
        columns = [[mine for mine, _ in pairs], [other for _, other in pairs], [more - less for less, more in pairs]]
        cells = [" / ".join(f"{size / MIB:.1f}" for size in column) for column in columns]
        yield f"| {guarded.answers:,} | {' | '.join(cells)} |"


def main() -> int:
    """Print a Markdown table."""
    parser = command_parser("benchmarks.serving.memory", __doc__)
    add_model_options(parser)
    parser.add_argument("--answers", type=int, default=ANSWERS, help=f"of the guarded worker (default: {ANSWERS:,})")
    args = parser.parse_args()
    require(parser, args.victim, args.archive, args.payloads)
    os.environ["OMP_NUM_THREADS"] = "1"
    archives = {PROTECTED: args.archive, UNPROTECTED: args.victim}
    try:
        with tempfile.TemporaryDirectory(prefix="memory-", dir=args.victim.parent) as folder:
            ledger = f"sqlite:///{Path(folder).resolve() / 'ledger.db'}"
            environment = {URI_VARIABLE: ledger}
            with served(archives, config=ROOT / "config.properties", environment=environment) as server:
                readings = measure(Pair(server, ledger, shuffled(args.payloads)), args.answers)
    except (CalpowError, BadAnswer, requests.RequestException) as problem:
        parser.error(str(problem))
    print("\n".join(table(readings)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
