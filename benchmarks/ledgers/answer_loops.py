"""Loops that answer queries of one account: by a ledger, and bare ones on the same stores.

A bare loop makes the same durable writes, without any check: it reads an account's state, stores an id, then stores the
state, the id's use and the outcome in one transaction. It is what a store takes at the least for three steps, of which
each must be there before the next.
"""

import itertools
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

from calpow.handler.ledger.history import History
from calpow.handler.ledger.holders import Identity
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.settlement import Settlement, Spending
from calpow.handler.ledger.solutions import Outcome, Use
from calpow.handler.ledger.uri import open_ledger

MODEL, ACCOUNT = "digits", "ada"
WARM_UP = 200
# As many queries as a steady user has sent, and the bets of a usual calibration.
PAST = History(10_000_000, 100, (0,) * 30, b"d" * 800, b"s" * 1600)
# Bytes of an account's numbers and bets, and of an outcome.
STATE, OUTCOME = b"s" * 300, b"o" * 150
LIFETIME = 900
STEPS = ("read", "admit", "settle")

# Answers a query, by its number, and returns the seconds of the three steps.
Answer = Callable[[int], Sequence[float]]
# Seconds by step.
Times = Mapping[str, Sequence[float]]


def loops(folder: Path, redis_uri: str, bare: sqlite3.Connection) -> Mapping[str, Answer]:
    """Return the loops by the store and by what stores in it."""
    return {
        "SQLite, bare": bare_sqlite(bare),
        "SQLite, Calpow": ledger_answers(open_ledger(f"sqlite:///{folder / 'ledger.db'}")),
        "Redis, bare": bare_redis(redis_uri),
        "Redis, Calpow": ledger_answers(open_ledger(redis_uri)),
    }


def ledger_answers(ledger: Ledger) -> Answer:
    """Return a function that answers a query of one account, paid by one new id."""
    key = ledger.add_key(ACCOUNT)
    ledger.charge(MODEL, {ACCOUNT: lambda account: account._replace(history=PAST)})

    def answer(number: int) -> Sequence[float]:
        now = time.time()
        name = f"{number:032x}"
        marks = [time.perf_counter()]
        (holder,) = ledger.holders(MODEL, [(Identity(key), [name])])
        marks.append(time.perf_counter())
        ledger.admit([Use(ACCOUNT, name, (name,), "d" * 64, now + LIFETIME)], now=now)
        marks.append(time.perf_counter())
        assert holder is not None
        spending = Spending((name,), Outcome(name, "d" * 64, now, 8, 8, 0), now + LIFETIME)
        before = holder.standing.account
        change = Settlement(ACCOUNT, before.version, before.history, 0, (spending,), keeps_old=True)
        assert ledger.settle(MODEL, [change], now=now) == [True]
        return _steps([*marks, time.perf_counter()])

    return answer


def bare_sqlite(connection: sqlite3.Connection) -> Answer:
    """Return a function that stores as much in a SQLite file, as durably as the ledger."""
    for statement in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = NORMAL",
        "CREATE TABLE accounts (name TEXT PRIMARY KEY, version INTEGER, state BLOB) WITHOUT ROWID",
        "CREATE TABLE uses (id TEXT PRIMARY KEY, spent INTEGER, expires REAL) WITHOUT ROWID",
        "CREATE TABLE outcomes (id TEXT PRIMARY KEY, outcome BLOB) WITHOUT ROWID",
    ):
        connection.execute(statement)
    connection.execute("INSERT INTO accounts VALUES (?, 0, ?)", (ACCOUNT, STATE))

    def answer(number: int) -> Sequence[float]:
        name = f"{number:032x}"
        marks = [time.perf_counter()]
        connection.execute("SELECT version, state FROM accounts WHERE name = ?", (ACCOUNT,)).fetchall()
        marks.append(time.perf_counter())
        connection.execute("INSERT INTO uses VALUES (?, 0, ?)", (name, time.time() + LIFETIME))
        marks.append(time.perf_counter())
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE accounts SET version = version + 1, state = ? WHERE name = ?", (STATE, ACCOUNT))
        connection.execute("UPDATE uses SET spent = 1 WHERE id = ?", (name,))
        connection.execute("INSERT INTO outcomes VALUES (?, ?)", (name, OUTCOME))
        connection.execute("COMMIT")
        return _steps([*marks, time.perf_counter()])

    return answer


def bare_redis(uri: str) -> Answer:
    """Return a function that stores as much on the server of a ledger's URI, in as many round trips."""
    client: Any = redis.Redis.from_url(uri.partition("?")[0])
    prefix = f"bare-{time.time_ns()}"
    state = f"{prefix}:state"
    client.set(state, STATE, ex=LIFETIME)

    def answer(number: int) -> Sequence[float]:
        name = f"{prefix}:{number:032x}"
        marks = [time.perf_counter()]
        client.get(state)
        marks.append(time.perf_counter())
        client.set(name, 0, ex=LIFETIME, nx=True)
        marks.append(time.perf_counter())
        with client.pipeline(transaction=True) as settling:
            settling.set(state, STATE, ex=LIFETIME).set(name, 1, ex=LIFETIME)
            settling.set(f"{name}:outcome", OUTCOME, ex=LIFETIME).execute()
        return _steps([*marks, time.perf_counter()])

    return answer


def times_in_turns(answers: Mapping[str, Answer], count: int) -> Mapping[str, Times]:
    """Return the seconds of each step and of all three, by loop; the loops take turns."""
    measured: dict[str, list[Sequence[float]]] = {name: [] for name in answers}
    for number in range(WARM_UP + count):
        for name, answer in answers.items():
            seconds = answer(number)
            if number >= WARM_UP:
                measured[name].append((*seconds, sum(seconds)))
    return {
        name: dict(zip((*STEPS, "all three"), zip(*laps, strict=True), strict=True)) for name, laps in measured.items()
    }


def _steps(marks: Sequence[float]) -> Sequence[float]:
    return [end - begin for begin, end in itertools.pairwise(marks)]
