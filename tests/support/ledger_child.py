"""A process that works on a ledger by itself: `ledger_child.py ROLE URI ARGUMENTS...`. Not a test."""

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.ledger.account import Account
from calpow.handler.ledger.history import Charge, History, SampleIdentity
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.settlement import Settlement, Spending, settlement_of
from calpow.handler.ledger.solutions import Admission, Outcome, Use
from calpow.handler.ledger.uri import open_ledger

MODEL = "digits"
BATCH = 3
T = TypeVar("T")


def until_done(action: Callable[[], T]) -> T:
    """Repeat an action while the ledger is busy: on a loaded machine, that can be longer than a worker waits."""
    for _ in range(60):
        try:
            return action()
        except LedgerUnavailable:
            time.sleep(0.01)
    return action()


def use(account: str, *ids: str) -> Use:
    return Use(account, "+".join(ids), ids, "d", time.time() + 600)


def charged(past: History) -> History:
    """Return a history after one more sample, which is told from others by its number."""
    number = past.queries + 1
    identity = SampleIdentity(number.to_bytes(8, "big"), number.to_bytes(16, "big"))
    return past.after(past.wealth or (0, 0), Charge(3, (1, 2), identity), 10**9, 0)


def charged_account(account: Account) -> Account:
    """Return an account, and its group, after one more sample."""
    group = account.group and charged_account(account.group)
    return account._replace(history=charged(account.history), group=group)


def history_of(samples: int) -> History:
    """Return the history after so many samples."""
    past = History()
    for _ in range(samples):
        past = charged(past)
    return past


def settle(ledger: Ledger, account: str, *uses: Use) -> bool:
    """Read the account, charge it once a use, and return whether that was written."""
    before = ledger.account(MODEL, account)
    after = before._replace(owed=before.owed - 1)
    for _ in uses:
        after = charged_account(after)
    spendings = [
        Spending(use.ids, Outcome(use.solution, use.digest, time.time(), 4, 4, 0), use.expires) for use in uses
    ]
    (written,) = ledger.settle(MODEL, [settlement_of(account, before, after, spendings)], now=time.time())
    return written


def charge(ledger: Ledger, account: str) -> int:
    """Settle one use of a new id, and return the number of conflicts with others that settle the same account."""
    conflicts = 0
    while not settle(ledger, account, use(account, os.urandom(16).hex())):
        conflicts += 1
    return conflicts


def in_threads(count: int, action: Callable[[], int]) -> int:
    """Run an action in `count` threads that start together, and return the sum of the results."""
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
    """Settle new ids."""
    conflicts = sum(until_done(lambda: charge(ledger, account)) for _ in range(int(times)))
    return {"settled": int(times), "conflicts": conflicts}


def observe(ledger: Ledger, account: str, times: str) -> dict[str, int]:
    """Charge the account for answers that are not paid for."""
    for _ in range(int(times)):
        until_done(lambda: ledger.charge(MODEL, {account: charged_account}))
    return {"settled": int(times)}


def race(ledger: Ledger, account: str, version: str, times: str) -> dict[str, int]:
    """Settle every version from the first one on, and count those that this process won."""
    won = 0
    for before in range(int(version), int(version) + int(times)):
        history = charged(ledger.account(MODEL, account).history)
        settlement = Settlement(account, before, history, 0, ())
        (written,) = until_done(partial(ledger.settle, MODEL, [settlement], now=time.time()))
        won += written
        while ledger.account(MODEL, account).version <= before:
            time.sleep(0.001)
    return {"won": won}


def replay(ledger: Ledger, account: str, attempts: str, *ids: str) -> dict[str, int]:
    """Admit one solution from many threads, and settle it until it is settled or refused."""
    admitted: list[Admission] = []

    def attempt() -> int:
        attempted = use(account, *ids)
        (result,) = until_done(lambda: ledger.admit([attempted], now=time.time()))
        admitted.append(result.admission)
        written = False
        while result.admission is Admission.FRESH and not written:
            written = until_done(lambda: settle(ledger, account, attempted))
            if not written and ledger.standing(MODEL, account, ids).outcomes:
                break
        return written

    won = in_threads(int(attempts), attempt)
    return {"won": won} | {admission.value: admitted.count(admission) for admission in Admission}


def admit(ledger: Ledger, attempts: str, *ids: str) -> dict[str, int]:
    """Admit one solution from many threads, and never settle it."""

    def attempt() -> int:
        (result,) = until_done(lambda: ledger.admit([use("ada", *ids)], now=time.time()))
        return result.admission is Admission.FRESH

    return {"fresh": in_threads(int(attempts), attempt)}


def fail(ledger: Ledger, account: str, times: str) -> dict[str, int]:
    """Fail on new ids, and count those that are spent by it."""
    ids = [os.urandom(16).hex() for _ in range(int(times))]
    for name in ids:
        until_done(partial(ledger.fail, MODEL, account, [name], expires=time.time() + 600, now=time.time()))
    return {"spent": len(ledger.standing(MODEL, account, ids).outcomes)}


def identify(ledger: Ledger) -> dict[str, int]:
    """Return the names of the deployment and of its secret as numbers."""
    (secret,) = ledger.secrets()
    return {"deployment": int(ledger.deployment(), 16), "secret": int.from_bytes(secret.value, "big")}


def stream(ledger: Ledger, account: str) -> dict[str, int]:
    """Admit and settle until killed, and print every step."""
    for turn in range(1_000_000):
        names = [f"{os.getpid()}-{turn}-{index}" for index in range(BATCH)]
        uses = [use(account, f"{name}-a", f"{name}-b") for name in names]
        ids = [name for pair in uses for name in pair.ids]
        print("admitting", *ids, flush=True)
        assert [result.admission for result in ledger.admit(uses, now=time.time())] == [Admission.FRESH] * BATCH
        print("admitted", *ids, flush=True)
        while not settle(ledger, account, *uses):
            pass
        print("settled", *ids, flush=True)
    return {}


def fill(ledger: Ledger, account: str, size: str) -> dict[str, int]:
    """Settle until files may not grow any more, and once more when they may again."""
    settled = refused = 0
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), hard))
    while refused < 3:
        try:
            charge(ledger, account)
            settled += 1
        except LedgerUnavailable:
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    charge(ledger, account)
    return {"settled": settled + 1}


def fork(ledger: Ledger, account: str, children: str) -> dict[str, int]:
    """Fork while a thread keeps the ledger busy; the parent and the children settle."""
    stop = threading.Event()
    counted: list[int] = []

    def keep_busy() -> None:
        while not stop.is_set():
            counted.append(until_done(lambda: charge(ledger, account)))

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
    return {"settled": len(counted) + 20 * len(pids), "failed": sum(status != 0 for status in statuses)}


def outlive(ledger: Ledger, account: str) -> dict[str, int]:
    """Settle, fork, and end; the child settles at once, and again after a line of input."""
    charge(ledger, account)
    if os.fork():
        os._exit(0)
    charge(ledger, account)
    print("alone", flush=True)
    sys.stdin.readline()
    hammer(ledger, account, "10")
    return {"settled": 12}


ROLES: dict[str, Callable[..., dict[str, int]]] = {
    "hammer": hammer,
    "observe": observe,
    "race": race,
    "replay": replay,
    "admit": admit,
    "fail": fail,
    "identify": identify,
    "stream": stream,
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
