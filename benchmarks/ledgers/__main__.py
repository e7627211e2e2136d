"""`python -m benchmarks.ledgers [REDIS_URI]`: the ledger's time for one answer, beside bare loops on the same stores.

All loops take turns, an answer each. Without a URI, a Redis on loopback that keeps nothing on the disk is measured.
"""

import contextlib
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.ledgers.answer_loops import STEPS, Times, loops, times_in_turns
from benchmarks.results.exhibit import table
from tests.support.redis_servers import redis_binary, redis_server

ANSWERS = 2000
MICRO = 1e6


def main(uri: str | None) -> None:
    """Measure and print one row for each step."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        redis_uri = stack.enter_context(_redis(uri, folder))
        bare = stack.enter_context(contextlib.closing(sqlite3.connect(folder / "bare.db", isolation_level=None)))
        print("\n".join(rows(times_in_turns(loops(folder, redis_uri, bare), ANSWERS))))


def rows(times: Mapping[str, Times]) -> list[str]:
    """Return the lines of a Markdown table: medians, 99 % quantiles, and what ours takes of a bare loop's time."""
    names = list(times)
    header = ["microseconds, median (p99)"]
    for bare, ours in zip(names[::2], names[1::2], strict=True):
        header += [bare, ours, "ratio"]
    lines = []
    for step in (*STEPS, "all three"):
        line = [step]
        for bare, ours in zip(names[::2], names[1::2], strict=True):
            pair = times[bare][step], times[ours][step]
            line += [*map(_cell, pair), f"{median(pair[1]) / median(pair[0]):.1f}"]
        lines.append(line)
    return table(header, lines)


def _cell(times: Sequence[float]) -> str:
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
