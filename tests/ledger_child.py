"""A process that works on a ledger by itself: `ledger_child.py ROLE URI ARGUMENTS...`. Not a test."""

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.base import Charge, Ledger, LedgerUnavailable, OpenChallenge, Quote, QuoteRequest, Totals

MODEL = "digits"
BATCH = 3
T = TypeVar("T")


def until_done(action: Callable[[], T]) -> T:
    """Try again while the ledger is busy: on a loaded machine a turn can take longer than a worker would wait."""
    for _ in range(60):
        try:
            return action()
        except LedgerUnavailable:
            time.sleep(0.01)
    return action()


def request(account: str, digest: str) -> QuoteRequest:
    def draft(totals: Totals) -> OpenChallenge:
        return OpenChallenge(os.urandom(16).hex(), "token", time.time() + 600, 1)

    return QuoteRequest(account, digest, Charge(3, -1, 1), Charge(0, 0, 0), draft)


def charge(ledger: Ledger, account: str, *digests: str) -> list[Quote]:
    requests = [request(account, digest) for digest in digests]
    quotes = ledger.quote(MODEL, requests, now=time.time(), max_open=1_000_000)
    return [each for each in quotes if isinstance(each, Quote)]


def in_threads(count: int, action: Callable[[], int]) -> int:
    """The sum of what `count` threads return that start together."""
    results: list[int] = []
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        results.append(action())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    return sum(results)


def hammer(ledger: Ledger, account: str, times: str) -> dict[str, int]:
    """Charge the account for payloads nobody else sends."""
    quotes = [until_done(lambda: charge(ledger, account, os.urandom(8).hex())) for _ in range(int(times))]
    return {"charged": sum(each[0].charged for each in quotes)}


def observe(ledger: Ledger, account: str, times: str) -> dict[str, int]:
    """Charge the account for what nobody has to pay."""
    for _ in range(int(times)):
        until_done(lambda: ledger.charge(MODEL, {account: Charge(3, -1, 1)}))
    return {"charged": int(times)}


def replay(ledger: Ledger, name: str, attempts: str) -> dict[str, int]:
    """Redeem one challenge from many threads."""

    def attempt() -> int:
        return len(until_done(lambda: ledger.redeem([name], now=time.time(), holder=str(os.getpid()))))

    return {"won": in_threads(int(attempts), attempt)}


def ask(ledger: Ledger, account: str, digest: str, attempts: str) -> dict[str, int]:
    """Ask for the same payload from many threads."""
    return {
        "charged": in_threads(int(attempts), lambda: until_done(lambda: charge(ledger, account, digest))[0].charged)
    }


def identify(ledger: Ledger) -> dict[str, int]:
    """What a ledger is known by, as numbers."""
    (secret,) = ledger.secrets()
    return {"deployment": int(ledger.deployment(), 16), "secret": int.from_bytes(secret.value, "big")}


def stream(ledger: Ledger, account: str) -> dict[str, int]:
    """Quote, redeem and settle until killed; say what is going to be done, and what has been done."""
    holder = str(os.getpid())
    for turn in range(1_000_000):
        digests = [f"{holder}-{turn}-{index}" for index in range(BATCH)]
        print("asking", *digests, flush=True)
        ids = [each.challenge.id for each in charge(ledger, account, *digests)]
        print("quoted", *ids, flush=True)
        assert len(ledger.redeem(ids, now=time.time(), holder=holder)) == BATCH
        print("redeemed", *ids, flush=True)
        ledger.settle(ids)
        print("settled", *ids, flush=True)
    return {}


def hold(ledger: Ledger, account: str) -> dict[str, int]:
    """Redeem and wait to be killed."""
    ids = [each.challenge.id for each in charge(ledger, account, *[os.urandom(8).hex() for _ in range(BATCH)])]
    ledger.redeem(ids, now=time.time(), holder=str(os.getpid()))
    print(*ids, flush=True)
    time.sleep(600)
    return {}


def fill(ledger: Ledger, account: str, size: str) -> dict[str, int]:
    """Charge until no file may grow any more, then again when files may."""
    charged = refused = 0
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), hard))
    while refused < 3:
        try:
            charged += len(charge(ledger, account, os.urandom(8).hex()))
        except LedgerUnavailable:
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    return {"charged": charged, "afterwards": len(charge(ledger, account, "after"))}


def fork(ledger: Ledger, account: str, children: str) -> dict[str, int]:
    """Fork while a thread keeps the ledger busy; parent and children charge."""
    stop = threading.Event()
    counted: list[int] = []

    def keep_busy() -> None:
        while not stop.is_set():
            counted.append(len(until_done(lambda: charge(ledger, account, os.urandom(8).hex()))))

    thread = threading.Thread(target=keep_busy)
    thread.start()
    pids = []
    for _ in range(int(children)):
        time.sleep(0.01)
        pid = os.fork()
        if pid == 0:
            hammer(ledger, account, "20")
            os._exit(0)
        pids.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    stop.set()
    thread.join()
    return {"charged": len(counted) + 20 * len(pids), "failed": sum(status != 0 for status in statuses)}


def outlive(ledger: Ledger, account: str) -> dict[str, int]:
    """Charge, fork, and end; the child charges, and again when told to."""
    charge(ledger, account, "parent")
    if os.fork():
        os._exit(0)
    charge(ledger, account, "child")
    print("alone", flush=True)
    sys.stdin.readline()
    hammer(ledger, account, "10")
    return {"charged": 12}


ROLES: dict[str, Callable[..., dict[str, int]]] = {
    "hammer": hammer,
    "observe": observe,
    "replay": replay,
    "ask": ask,
    "identify": identify,
    "stream": stream,
    "hold": hold,
    "fill": fill,
    "fork": fork,
    "outlive": outlive,
}


def main(role: str, uri: str, *arguments: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(ROLES[role](open_ledger(uri), *arguments)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
