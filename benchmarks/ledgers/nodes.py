"""Answers a second with the ledger in SQLite and in Redis, on one TorchServe and on two.

    python -m benchmarks.ledgers.nodes          three minutes, on an otherwise idle machine

Every query is paid beforehand and is another sample; each connection has an account of its own. The victim takes next
to no time and no batches, so that the gate and the ledger are what is measured; each TorchServe has one worker. Redis
is on the same machine, on loopback, with `appendonly yes` and `appendfsync everysec`. All take turns in every round,
so that other load falls on all alike; figures are medians of the rounds.
"""

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.serving.light_client import burst, request
from calpow.archiver.progress import announce, track
from calpow.archiver.server import Server, served
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER, format_prepaid
from tests.support.guarded import protect, train_teachers
from tests.support.redis_servers import redis_binary, redis_server
from tests.support.victims import build as victims

MODEL = "vector"
CONNECTIONS = (1, 8, 32)
SERVERS = (1, 2)
ROUNDS = 5
QUERIES = 384
ONE_WORKER = {"default_workers_per_model": "1"}
# Twice what the model asks for every answer.
HASHES = 400


class Site:
    """Two servers that share a ledger, and users with a key for each connection."""

    def __init__(self, servers: Sequence[Server], ledger: Ledger) -> None:
        self._urls = [server.url(MODEL) for server in servers]
        self._realm = f"{MODEL}@{ledger.deployment()}"
        self._keys = [ledger.add_key(f"user{number}") for number in range(max(CONNECTIONS))]
        self._numbers = itertools.count()

    def rate(self, connections: int, servers: int) -> float:
        """Return the answers a second over so many connections, which so many servers share."""
        shares = [self._orders(connections, QUERIES // servers, url) for url in self._urls[:servers]]
        with ThreadPoolExecutor(servers) as pool:
            begun = time.perf_counter()
            list(pool.map(lambda share: burst(share[0], share[1], max(1, connections // servers), 200), shares))
            return QUERIES / (time.perf_counter() - begun)

    def _orders(self, connections: int, count: int, url: str) -> tuple[str, list[bytes]]:
        """Return a URL, and paid requests to it."""
        keys = itertools.cycle(self._keys[:connections])
        return url, [self._paid(url, next(keys)) for _ in range(count)]

    def _paid(self, url: str, key: str) -> bytes:
        number = next(self._numbers)
        body = f"{number % 1000 / 1000:.3f},{number // 1000 / 1000:.3f},0,0".encode()
        puzzle = PROFILES[DEFAULT_PROFILE].kind.puzzle(HASHES, prepaid_resource(self._realm, key))
        return request(url, body, {KEY_HEADER: key, SOLUTION_HEADER: format_prepaid(solve(puzzle))})


def main() -> None:
    """Measure, and print a row for each number of servers and connections."""
    os.environ["OMP_NUM_THREADS"] = "1"
    cells = [(servers, connections) for servers in SERVERS for connections in CONNECTIONS if connections >= servers]
    rates: dict[tuple[str, int, int], list[float]] = {}
    announce("trains teachers and starts four servers: a minute or two")
    with tempfile.TemporaryDirectory() as folder, _sites(Path(folder)) as sites:
        turns = [(number, *cell, name) for number in range(1 + ROUNDS) for cell in cells for name in sites]
        for number, servers, connections, name in track(turns, "bursts", "burst"):
            rate = sites[name].rate(connections, servers)
            if number:  # the first round warms up
                rates.setdefault((name, servers, connections), []).append(rate)
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'TorchServes':12}{'connections':>12}{'SQLite':>10}{'Redis':>10}{'Redis / SQLite':>24}")
    for servers, connections in cells:
        sqlite, redis = (rates[name, servers, connections] for name in ("sqlite", "redis"))
        ratios = sorted(theirs / ours for ours, theirs in zip(sqlite, redis, strict=True))
        ratio = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"{servers:<12}{connections:>12}{median(sqlite):>10.0f}{median(redis):>10.0f}{ratio:>24}")


@contextlib.contextmanager
def _sites(folder: Path) -> Iterator[dict[str, Site]]:
    """Run two servers on each kind of ledger."""
    for name in ("victim", "vectors", "guarded", "redis"):
        (folder / name).mkdir()
    # Not batched: a connection that is alone would wait for others, 200 ms a query.
    victim = victims.vector_class(folder / "victim")
    teachers = train_teachers(folder / "victim", victim, victims.vectors(folder / "vectors"), "random")
    archive = protect(folder / "guarded", MODEL, victim, teachers).guarded
    with contextlib.ExitStack() as stack:
        options = ("--save", "", "--appendonly", "yes")
        redis = stack.enter_context(redis_server(redis_binary(), folder / "redis", *options))
        sites = {}
        for name, uri in (("sqlite", f"sqlite:///{folder}/ledger.db"), ("redis", redis.uri(timeout="5"))):
            servers = [
                stack.enter_context(served({MODEL: archive}, properties=ONE_WORKER, environment={"CALPOW_LEDGER": uri}))
                for _ in range(max(SERVERS))
            ]
            sites[name] = Site(servers, open_ledger(uri))
        yield sites


if __name__ == "__main__":
    main()
