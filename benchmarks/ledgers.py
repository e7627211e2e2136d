"""`python -m benchmarks.ledgers [REDIS_URI]`: the ledger's time for one answer, in SQLite and in Redis side by side.

Beside each stands what its store takes at the least: a commit of one small row, and a SET with a GET. Without a URI, a
Redis on loopback that keeps nothing on the disk is measured.
"""

import contextlib
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import redis

from calpow.handler.ledger.history import History
from calpow.handler.ledger.ledger import Identity, Ledger, Outcome, Settlement, Spending, Use
from calpow.handler.ledger.uri import open_ledger
from tests.support.redis_servers import redis_binary, redis_server

MODEL = "digits"
ANSWERS, WARM_UP = 2000, 200
# As many queries as a steady user has sent, and the bets of a usual calibration.
PAST = History(10_000_000, 100, (0,) * 30, b"d" * 800, b"s" * 1600)
MICRO = 1e6

Times = dict[str, list[float]]


def main(uri: str | None) -> None:
    """Measure and print one row for each step."""
    with tempfile.TemporaryDirectory() as folder, _redis(uri, Path(folder)) as redis_uri:
        sqlite_file = Path(folder) / "ledger.db"
        columns = [
            answer_times(open_ledger(f"sqlite:///{sqlite_file}")) | {"store": commit_times(Path(folder) / "bare.db")},
            answer_times(open_ledger(redis_uri)) | {"store": set_and_get_times(redis_uri)},
        ]
    labels = {"read": "read", "admit": "admit", "settle": "settle", "answer": "all three", "store": "bare store"}
    print(f"{'microseconds, median (p99)':28}{'SQLite':>16}{'Redis':>16}")
    for name, label in labels.items():
        print(f"{label:28}" + "".join(f"{_cell(times[name]):>16}" for times in columns))


def answer_times(ledger: Ledger) -> Times:
    """Return the seconds of each step of answers to one account, one after another, each paid by one new id."""
    key = ledger.add_key("ada")
    ledger.charge(MODEL, {"ada": lambda account: account._replace(history=PAST)})
    times: Times = {"read": [], "admit": [], "settle": [], "answer": []}
    for number in range(WARM_UP + ANSWERS):
        now = time.time()
        name = f"{number:032x}"
        marks = [time.perf_counter()]
        (holder,) = ledger.holders(MODEL, [(Identity(key), [name])])
        marks.append(time.perf_counter())
        ledger.admit([Use("ada", name, (name,), "d" * 64, now + 900)], now=now)
        marks.append(time.perf_counter())
        assert holder is not None
        spending = Spending((name,), Outcome(name, "d" * 64, now, 8, 8, 0), now + 900)
        before = holder.standing.account
        change = Settlement("ada", before.version, before.history, 0, (spending,), keeps_old=True)
        assert ledger.settle(MODEL, [change], now=now) == [True]
        marks.append(time.perf_counter())
        if number >= WARM_UP:
            for step, begin, end in zip(("read", "admit", "settle"), marks, marks[1:], strict=False):
                times[step].append(end - begin)
            times["answer"].append(marks[-1] - marks[0])
    return times


def commit_times(file: Path) -> list[float]:
    """Return the seconds of commits of one small row, as durable as those of the ledger."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, value TEXT)")
        return _times(lambda number: connection.execute("INSERT INTO rows VALUES (?, 'x')", (number,)))


def set_and_get_times(uri: str) -> list[float]:
    """Return the seconds of a SET and a GET on the server of a ledger's URI."""
    client: Any = redis.Redis.from_url(uri.partition("?")[0])

    def store(number: int) -> None:
        client.set(f"bare:{number % 100}", "x", ex=60)
        client.get(f"bare:{number % 100}")

    return _times(store)


def _times(action: Callable[[int], object]) -> list[float]:
    times = []
    for number in range(WARM_UP + ANSWERS):
        begin = time.perf_counter()
        action(number)
        times.append(time.perf_counter() - begin)
    return times[WARM_UP:]


def _cell(times: list[float]) -> str:
    return f"{median(times) * MICRO:.0f} ({sorted(times)[len(times) * 99 // 100] * MICRO:.0f})"


@contextlib.contextmanager
def _redis(uri: str | None, folder: Path) -> Iterator[str]:
    """Give the URI, with a prefix of its own, or that of a server that ends with the block."""
    if uri is not None:
        yield f"{uri}{'&' if '?' in uri else '?'}prefix=benchmark-{time.time_ns()}"
        return
    home = folder / "redis"
    home.mkdir()
    with redis_server(redis_binary(), home) as server:
        yield server.uri()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
