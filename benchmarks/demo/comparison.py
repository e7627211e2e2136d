"""Users and thieves of the demo, side by side, with what their answers cost."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.demo.protected_model import MODEL, heading
from benchmarks.demo.users import TwoWayClient, UserHistory, run
from benchmarks.digits import attacks
from calpow.archiver.server import Server
from calpow.handler.ledger.uri import open_ledger

QUERIES = 300
# A user is stopped after this many seconds; the multiple is clear by then.
PATIENCE_SECONDS = 30.0
# Payments grow with the queries: the multiple of the last answers is shown beside the whole.
LAST = 10


def compare(server: Server, users: Path) -> list[UserHistory]:
    """Run the users, honest ones first, and print a line for each of them."""
    heading("3. Users and thieves query it over HTTP")
    ledger = open_ledger(os.environ["CALPOW_LEDGER"])
    records = []
    print(f"{'user':<28}{'queries':>8}{'same answers':>14}{'without':>10}{'with':>10}{'multiple':>11}{'last ten':>11}")
    for name, honest, payloads in cast(users):
        record = UserHistory(name, honest)
        caller = TwoWayClient(server.url(MODEL), server.url("unprotected"), ledger.add_key(name))
        run(record, caller, payloads, PATIENCE_SECONDS, show_live)
        print(f"\r{line(record)}", flush=True)
        records.append(record)
    return records


def cast(users: Path) -> Iterator[tuple[str, bool, list[bytes]]]:
    """Yield the users: name, whether honest, and payloads."""
    rng = np.random.default_rng(7)
    digits = sorted(users.rglob("*.png"))
    yield "honest, all digits", True, pick(digits, rng)
    sevens = sorted((users / "7").rglob("*.png"))
    yield "honest, only sevens", True, pick(sevens, rng)
    for kind, name in (("natural", "thief, natural images"), ("letters", "thief, letters"), ("noise", "thief, noise")):
        yield name, False, attacks.payloads(kind, QUERIES)


def pick(files: Sequence[Path], rng: np.random.Generator) -> list[bytes]:
    """Return QUERIES different payloads in random order."""
    chosen = rng.permutation(len(files))[:QUERIES]
    return [files[index].read_bytes() for index in chosen]


def line(record: UserHistory) -> str:
    """Return a user's line of the table."""
    return (
        f"{record.name:<28}{len(record.queries):>8}{record.matching:>14}"
        f"{record.unprotected_seconds:>8.2f} s{record.protected_seconds:>8.2f} s"
        f"{record.multiple:>10,.1f}x{record.last(LAST).multiple:>10,.1f}x"
    )


def show_live(record: UserHistory) -> None:
    """Redraw the user's line on a terminal from time to time."""
    if sys.stdout.isatty() and (len(record.queries) % 10 == 0 or not record.honest):
        print(f"\r{line(record)}", end="", flush=True)
