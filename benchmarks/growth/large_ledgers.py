"""Large ledgers for `benchmarks.growth`: files of the SQLite ledger, filled with generated rows of real sizes."""

import contextlib
import random
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from calpow.archiver.progress import track
from calpow.handler.ledger.api_key import ApiKey
from calpow.handler.ledger.history import DIGEST_BYTES, DIGESTS, MICRO, RECENT, SKETCH_BYTES, SKETCHES
from calpow.handler.ledger.sqlite.sqlite_file import Value
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger

SEED = 14
CHUNK = 10_000
CACHE_KIB = 1_000_000
# Queries of an account: log-normal around the median.
MEDIAN_QUERIES, SCATTER = 30, 1.2
# Times that are long ago by any clock.
CREATED, EXPIRED = 1.7e9, 1.7e9 + 900

Row = tuple[Value, ...]


def users(rng: random.Random, accounts: int, queries: int | None = None) -> dict[str, int]:
    """Return the names of accounts, in order, with the queries that each has sent: so many, or as some users do."""
    names = sorted(f"user-{rng.getrandbits(48):012x}" for _ in range(accounts))
    return {name: queries or max(1, round(rng.lognormvariate(0, SCATTER) * MEDIAN_QUERIES)) for name in names}


def fill(path: Path, model: str, accounts: int, bets: int, queries: int | None = None) -> list[str]:
    """Create a ledger with accounts of one model and a key for each, and return the accounts' names.

    An account has sent `queries`, or as many as some users do, and holds no wealth in its `bets`.
    """
    SqliteLedger(path).deployment()
    rng = random.Random(SEED)
    sent = users(rng, accounts, queries)
    names, counts = list(sent), list(sent.values())
    # Users come in any order, so that the rows of an index lie elsewhere than those of its table.
    order = rng.sample(range(accounts), accounts)
    wealth = struct.pack(f"<{bets}q", *[0] * bets)

    def keys() -> Iterator[Row]:
        for number, name in enumerate(names):
            yield f"{number * (2**32 // accounts):08x}", rng.randbytes(32), name, CREATED, None, None

    def account_rows() -> Iterator[Row]:
        for place in order:
            count = counts[place]
            new = count % RECENT
            samples = rng.randbytes(new * DIGEST_BYTES), rng.randbytes(new * SKETCH_BYTES)
            yield model, names[place], count * MICRO // 10, count, 0, count, 0, 0.0, wealth, *samples, count, 0, 0

    def old_samples() -> Iterator[Row]:
        for name, count in zip(names, counts, strict=True):
            old = count - count % RECENT
            if old:
                digests, sketches = min(old, DIGESTS) * DIGEST_BYTES, min(old, SKETCHES) * SKETCH_BYTES
                yield model, name, rng.randbytes(digests), rng.randbytes(sketches)

    with _filling(path) as connection:
        _insert(connection, "keys", 6, keys(), accounts)
        _insert(connection, "accounts", 14, account_rows(), accounts)
        _insert(connection, "old_samples", 4, old_samples(), accounts)
    return names


def add_expired(path: Path, records: int) -> None:
    """Add solutions of one id that have expired: half of the records are ids, the other half outcomes."""
    solutions = records // 2
    names = random.Random(SEED)

    def solution(number: int) -> str:
        return f"{number * (2**32 // solutions):08x}{names.getrandbits(96):024x}"

    with _filling(path) as connection:
        ids = ((solution(number), 1, solution(number), EXPIRED) for number in range(solutions))
        _insert(connection, "uses", 4, ids, solutions)
        outcomes = (
            (solution(number), 2 * solution(number), EXPIRED, 8, 8, 0, b"", EXPIRED) for number in range(solutions)
        )
        _insert(connection, "outcomes", 8, outcomes, solutions)


def add_keys(path: Path, names: Sequence[str], count: int) -> list[str]:
    """Add keys of random ones of these accounts, and return them in clear."""
    with _filling(path) as connection:
        return [_add_key(connection, name) for name in random.Random(SEED).choices(names, k=count)]


def _add_key(connection: sqlite3.Connection, name: str) -> str:
    while True:
        key = ApiKey.generate()
        row = key.id, key.digest, name, CREATED, None, None
        # Among many keys, another one may have its id.
        if connection.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?, ?, ?, ?)", row).rowcount:
            return key.text


def _insert(connection: sqlite3.Connection, table: str, columns: int, rows: Iterable[Row], total: int) -> None:
    statement = f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})"
    connection.executemany(statement, track(rows, f"filling {table}", "row", total))


@contextlib.contextmanager
def _filling(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection for many rows, which a crash may spoil; nothing else may have the file open."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")
