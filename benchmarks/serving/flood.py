"""A payer beside first contacts that never pay: run after `make demo`, on an idle machine.

python -m benchmarks.serving.flood                    10,000 first contacts in five rounds: a minute
python -m benchmarks.serving.flood --contacts 2000
python -m benchmarks.serving.flood --batched          on a server that runs up to eight requests as one batch
python -m benchmarks.serving.flood --nginx            behind nginx with the limits of deploy/nginx.conf; two minutes
python -m benchmarks.serving.flood --kind nobody      requests without a key; `worthless`: stamps of no worth

One account sends requests without work over 8 connections, back to back, from a process of its own. Meanwhile a payer
sends one query after another, paid beforehand, from another address. His latency is compared with that of the rounds
between, when he is alone.
"""

import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.command_line import command_parser
from benchmarks.results.origin import ROOT
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
from calpow.archiver.server import Server, free_ports, served
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import URI_VARIABLE, open_ledger
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER
from tests.support.nginx import nginx

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
# Another address than the payer's 127.0.0.1.
ATTACKER = "127.0.0.2"
CONFIG = ROOT / "deploy" / "nginx.conf"
REFUSED = 429


class Kind(Enum):
    """Kind of request that a flood is made of."""

    CONTACTS = "contacts"
    """Requests of an account without work."""

    NOBODY = "nobody"
    """Requests without a key."""

    WORTHLESS = "worthless"
    """Requests of an account with a solution that is none."""

    @property
    def status(self) -> int:
        """The status of the gate's replies to them."""
        return 401 if self is Kind.NOBODY else 402

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers of a request, sent by whoever has a key."""
        if self is Kind.NOBODY:
            return {}
        return {KEY_HEADER: key} | ({SOLUTION_HEADER: "prepaid nothing"} if self is Kind.WORTHLESS else {})


@dataclass(frozen=True)
class FloodFigures:
    """Latencies of the payer in seconds, alone and beside the flood; requests of the flood a second.

    turned_away: the share of the flood's requests that were answered by nginx, with 429.
    load: processes that wanted a core when the measurement began and when it ended, by the operating system's average
        of a minute.
    """

    alone: tuple[float, ...]
    beside: tuple[float, ...]
    flood_rate: float
    load: tuple[float, float]
    turned_away: float = 0.0

    @property
    def ratio(self) -> float:
        """The median beside the flood in medians without."""
        return statistics.median(self.beside) / statistics.median(self.alone)


class Payer:
    """A client that pays with stamps that it minted before, for some accounts in turn."""

    def __init__(self, url: str, ledger: Ledger, payloads: Sequence[bytes], payments: int) -> None:
        self._url = url
        accounts = [ledger.add_key(f"payer-{time.time_ns()}-{number}") for number in range(ACCOUNTS)]
        keys = list(itertools.islice(itertools.cycle(accounts), payments))
        bodies = list(itertools.islice(itertools.cycle(payloads), payments))
        self._connection = Connection(self._url)
        asked = self._connection.ask(request(self._url, bodies[0], {KEY_HEADER: keys[0]}))
        offer = asked.header("WWW-Authenticate")
        self._connection.close()  # nginx would, while stamps are minted
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


def flood(url: str, kind: Kind, key: str, body: bytes, contacts: int) -> tuple[float, int]:
    """Send requests that never pay; return the seconds that they took, and how many nginx refused."""
    sent = [request(url, body, kind.headers(key))] * contacts
    result = burst(url, sent, CONNECTIONS, kind.status, {REFUSED: 1.0}, ATTACKER)
    return result.seconds, sum(answer.status == REFUSED for answer in result.answers)


def measure(
    url: str,
    ledger: Ledger,
    payloads: Sequence[bytes],
    contacts: int = CONTACTS,
    rounds: int = ROUNDS,
    kind: Kind = Kind.CONTACTS,
) -> FloodFigures:
    """Measure in rounds, so that other load on the machine falls on both alike.

    Raises BadAnswer when the payer is not answered, or the flood is.
    """
    begun = os.getloadavg()[0]
    attack = partial(flood, url, kind, ledger.add_key("flood"), payloads[0])
    payer = Payer(url, ledger, payloads, WARM_UP + PAYMENTS * rounds)
    alone: list[float] = []
    beside: list[float] = []
    seconds, turned_away = 0.0, 0
    with closing(payer), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        _ask_times(payer, WARM_UP)
        pool.submit(attack, CONNECTIONS).result()
        for _ in range(rounds):
            end = time.perf_counter() + ALONE_SECONDS
            alone += payer.ask_while(lambda: time.perf_counter() < end)  # noqa: B023  # called before end changes
            running = pool.submit(attack, contacts // rounds)
            beside += payer.ask_while(lambda: not running.done())  # noqa: B023  # as above
            took, refused = running.result()
            seconds += took
            turned_away += refused
    sent = contacts // rounds * rounds
    load = begun, os.getloadavg()[0]
    return FloodFigures(tuple(alone), tuple(beside), sent / seconds, load, turned_away / sent)


@contextmanager
def fronted(server: Server, model: str, folder: Path) -> Iterator[str]:
    """Run nginx as deploy/nginx.conf has it, but without TLS, in front of a server; yield the URL of a model there."""
    port, grpc_port = free_ports(2)
    site = CONFIG.read_text()
    for listening, free in (("443", port), ("8443", grpc_port)):
        site = site.replace(f"listen {listening} ssl http2;", f"listen 127.0.0.1:{free};")
    lines = [line for line in site.splitlines() if "ssl_certificate" not in line and "server 10.0.0.12" not in line]
    site = "\n".join(lines).replace("10.0.0.11:8080", f"127.0.0.1:{server.inference_port}")
    with nginx(folder, site):
        yield f"http://127.0.0.1:{port}/predictions/{model}"


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
    away = f", {100 * figures.turned_away:.0f} % turned away" if figures.turned_away else ""
    lines.append(
        f"ratio of medians {figures.ratio:.2f}; {figures.flood_rate:,.0f} requests of the flood a second{away}"
    )
    lines.append(f"load of the machine {figures.load[0]:.1f} at the beginning, {figures.load[1]:.1f} at the end")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the demo's model, measure, and print the table."""
    parser = command_parser("benchmarks.serving.flood", __doc__)
    parser.add_argument("--contacts", type=int, default=CONTACTS)
    setting = f"batchSize {BATCH_SIZE} and maxBatchDelay {BATCH_DELAY_MILLISECONDS}"
    parser.add_argument("--batched", action="store_true", help=f"serve the model with {setting}")
    parser.add_argument("--nginx", action="store_true", help="put nginx in front, with the limits of deploy/nginx.conf")
    kinds = [kind.value for kind in Kind]
    parser.add_argument("--kind", choices=kinds, default=Kind.CONTACTS.value, help="(default: contacts)")
    options = parser.parse_args(arguments)
    require(parser, ARCHIVE, USERS)
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/ledger.db"
        batched = {"models": json.dumps({PROTECTED: batching(PROTECTED, ARCHIVE)})} if options.batched else {}
        with ExitStack() as stack:
            environment = {URI_VARIABLE: uri}
            server = stack.enter_context(served({PROTECTED: ARCHIVE}, properties=batched, environment=environment))
            url = server.url(PROTECTED)
            if options.nginx:
                url = stack.enter_context(fronted(server, PROTECTED, Path(folder) / "nginx"))
            figures = measure(url, open_ledger(uri), shuffled(USERS), options.contacts, kind=Kind(options.kind))
    print("\n".join(table(figures)))


if __name__ == "__main__":
    main()
