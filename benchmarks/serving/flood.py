"""A payer beside first contacts that never pay: run after `make demo`, on an idle machine.

python -m benchmarks.serving.flood                    10,000 first contacts in five rounds: a minute
python -m benchmarks.serving.flood --contacts 2000
python -m benchmarks.serving.flood --batched          on a server that runs up to eight requests as one batch

One account sends requests without work over 8 connections, back to back, from a process of its own. Meanwhile a payer
sends one query after another, paid beforehand. His latency is compared with that of the rounds between, when he is
alone.
"""

import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from benchmarks.command_line import command_parser
from benchmarks.serving.demo_model import (
    ARCHIVE,
    BATCH_DELAY_MILLISECONDS,
    BATCH_SIZE,
    PROTECTED,
    USERS,
    batching,
    require,
    shuffled,
)
from benchmarks.serving.light_client import BadAnswer, Connection, burst, request
from benchmarks.serving.load import MOST_WITHHELD, prepay
from calpow.archiver.server import Server, served
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import URI_VARIABLE, open_ledger
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER

CONTACTS = 10_000
CONNECTIONS = 8
ROUNDS = 5
# Of the payer while he is alone, in each round.
ALONE_SECONDS = 2.0
# Answers of the payer before the first round.
WARM_UP = 50
# Stamps are minted before the rounds, and stay fresh for ten minutes.
PAYMENTS = 2_000
ACCOUNTS = 40


@dataclass(frozen=True)
class FloodFigures:
    """Latencies of the payer in seconds, alone and beside the flood; requests of the flood that were refused a second.

    load: processes that wanted a core when the measurement began and when it ended, by the operating system's average
        of a minute.
    """

    alone: tuple[float, ...]
    beside: tuple[float, ...]
    flood_rate: float
    load: tuple[float, float]

    @property
    def ratio(self) -> float:
        """The median beside the flood in medians without."""
        return statistics.median(self.beside) / statistics.median(self.alone)


class Payer:
    """A client that pays with stamps that it minted before, for some accounts in turn."""

    def __init__(self, server: Server, model: str, ledger: Ledger, payloads: Sequence[bytes], payments: int) -> None:
        self._url = server.url(model)
        accounts = [ledger.add_key(f"payer-{time.time_ns()}-{number}") for number in range(ACCOUNTS)]
        keys = list(itertools.islice(itertools.cycle(accounts), payments))
        bodies = list(itertools.islice(itertools.cycle(payloads), payments))
        self._connection = Connection(self._url)
        asked = self._connection.ask(request(self._url, bodies[0], {KEY_HEADER: keys[0]}))
        offer = asked.header("WWW-Authenticate")
        paid = (
            request(self._url, body, {KEY_HEADER: key, SOLUTION_HEADER: prepay(key, offer)})
            for key, body in zip(keys, bodies, strict=True)
        )
        self._requests: Iterator[bytes] = iter(list(paid))

    def close(self) -> None:
        """Let go of the server."""
        self._connection.close()

    def ask_while(self, goes_on: Callable[[], bool]) -> list[float]:
        """Send one query after another; return the seconds of those that were answered."""
        seconds, withheld = [], 0
        while goes_on():
            sent = next(self._requests, None)
            if sent is None:
                break
            answer = self._connection.ask(sent)
            if answer.status == 200:
                seconds.append(answer.seconds)
            else:
                withheld += 1
        if withheld > MOST_WITHHELD * (len(seconds) + 10):
            raise BadAnswer(f"{withheld} of {withheld + len(seconds)} paid queries were not answered")
        return seconds


def flood(url: str, key: str, body: bytes, contacts: int) -> float:
    """Send first contacts that never pay; return the seconds that they took."""
    return burst(url, [request(url, body, {KEY_HEADER: key})] * contacts, CONNECTIONS, 402).seconds


def measure(
    server: Server,
    model: str,
    ledger: Ledger,
    payloads: Sequence[bytes],
    contacts: int = CONTACTS,
    rounds: int = ROUNDS,
) -> FloodFigures:
    """Measure in rounds, so that other load on the machine falls on both alike.

    Raises BadAnswer when the payer is not answered, or the flood is.
    """
    begun = os.getloadavg()[0]
    attack = partial(flood, server.url(model), ledger.add_key("flood"), payloads[0])
    payer = Payer(server, model, ledger, payloads, WARM_UP + PAYMENTS * rounds)
    alone: list[float] = []
    beside: list[float] = []
    seconds = 0.0
    with closing(payer), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        _ask_times(payer, WARM_UP)
        pool.submit(attack, CONNECTIONS).result()
        for _ in range(rounds):
            end = time.perf_counter() + ALONE_SECONDS
            alone += payer.ask_while(lambda: time.perf_counter() < end)  # noqa: B023  # called before end changes
            running = pool.submit(attack, contacts // rounds)
            beside += payer.ask_while(lambda: not running.done())  # noqa: B023  # as above
            seconds += running.result()
    return FloodFigures(tuple(alone), tuple(beside), contacts // rounds * rounds / seconds, (begun, os.getloadavg()[0]))


def _ask_times(payer: Payer, times: int) -> None:
    left = iter(range(times))
    payer.ask_while(lambda: next(left, None) is not None)


def table(figures: FloodFigures) -> list[str]:
    """Return the lines of a report."""
    rows = [("alone", figures.alone), ("beside the flood", figures.beside)]
    lines = [f"{'payer':<18}{'answers':>8}{'median ms':>11}{'90 % ms':>9}{'99 % ms':>9}"]
    for name, seconds in rows:
        cuts = statistics.quantiles(seconds, n=100)
        lines.append(f"{name:<18}{len(seconds):>8,}{1e3 * cuts[49]:>11.2f}{1e3 * cuts[89]:>9.2f}{1e3 * cuts[98]:>9.2f}")
    lines.append(f"ratio of medians {figures.ratio:.2f}; {figures.flood_rate:,.0f} first contacts a second")
    lines.append(f"load of the machine {figures.load[0]:.1f} at the beginning, {figures.load[1]:.1f} at the end")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the demo's model, measure, and print the table."""
    parser = command_parser("benchmarks.serving.flood", __doc__)
    parser.add_argument("--contacts", type=int, default=CONTACTS)
    setting = f"batchSize {BATCH_SIZE} and maxBatchDelay {BATCH_DELAY_MILLISECONDS}"
    parser.add_argument("--batched", action="store_true", help=f"serve the model with {setting}")
    options = parser.parse_args(arguments)
    require(parser, ARCHIVE, USERS)
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/ledger.db"
        batched = {"models": json.dumps({PROTECTED: batching(PROTECTED, ARCHIVE)})} if options.batched else {}
        with served({PROTECTED: ARCHIVE}, properties=batched, environment={URI_VARIABLE: uri}) as server:
            figures = measure(server, PROTECTED, open_ledger(uri), shuffled(USERS), options.contacts)
    print("\n".join(table(figures)))


if __name__ == "__main__":
    main()
