"""Series of measurements on a ledger in Redis, as its accounts and its spent ids grow, and while these expire."""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.growth.curve import Curve, times_in_turns
from benchmarks.growth.prepaid_answers import PaidGate, Size, redis_gate
from calpow.archiver.progress import announce
from calpow.handler.ledger.redis.redis_scripts import MOST_EXTRA_SECONDS
from tests.support.redis_servers import RedisServer, redis_binary, redis_server

ON_REDIS, EXPIRING = "gate, Redis", "gate, Redis expiring"
ROUNDS, QUICK_ROUNDS = 2_000, 20
# Ids expire so many seconds after the first one is spent: time to spend all of them, and to measure before.
HELD_SECONDS = 1_000.0
# After the last id has expired, Redis takes some time to find it.
REMOVAL_SECONDS = 60.0
# Redis lets a tenth of all keys that expire be ones that have.
MOST_REMOVED = 0.8


def account_curve(grows: str, sizes: Sequence[int], folder: Path | None, *, quick: bool) -> Curve:
    """Time prepaid answers on ledgers of so many accounts, in turns."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with _gates([Size(accounts=size) for size in sizes], folder, 0.0) as gates:
        answers = [gate.seconds for gate, _ in gates]
        return Curve(grows, ON_REDIS, sizes, times_in_turns(answers, range(rounds), f"{grows}, {ON_REDIS}"))


def id_curves(grows: str, sizes: Sequence[int], folder: Path | None, *, quick: bool) -> Iterator[Curve]:
    """Time prepaid answers on ledgers of so many spent ids, in turns: while they are kept, and while they expire.

    `quick` leaves out the latter. Raises RuntimeError where ids expire too early, or most are still there at the end.
    """
    rounds = QUICK_ROUNDS if quick else ROUNDS
    expires = time.time() + HELD_SECONDS
    with _gates([Size(expired=size) for size in sizes], folder, expires) as gates:
        answers = [gate.seconds for gate, _ in gates]
        seconds = times_in_turns(answers, range(rounds), f"{grows}, {ON_REDIS}")
        if time.time() > expires:
            raise RuntimeError(
                f"the machine is too slow: ids expired before all were spent, after {HELD_SECONDS:.0f} s"
            )
        yield Curve(grows, ON_REDIS, sizes, seconds)
        if quick:
            return
        announce(f"waits until ids expire, for {expires - time.time():.0f} s")
        time.sleep(expires - time.time())
        passing = _rounds_until(expires + MOST_EXTRA_SECONDS + REMOVAL_SECONDS)
        seconds = times_in_turns(answers, passing, f"{grows}, {EXPIRING}")
        (_, server), size = gates[-1], sizes[-1]
        if server.client().info("stats")["expired_keys"] < MOST_REMOVED * size:
            raise RuntimeError(f"Redis has not forgotten most of {size:,} ids that have expired")
        yield Curve(grows, EXPIRING, sizes, seconds)


@contextlib.contextmanager
def _gates(sizes: Sequence[Size], folder: Path | None, expires: float) -> Iterator[list[tuple[PaidGate, RedisServer]]]:
    """Yield a gate for each size, and the server of its ledger, whose spent ids expire at a time."""
    with contextlib.ExitStack() as stack:
        gates = []
        for size in sizes:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-", dir=folder)))
            server = stack.enter_context(redis_server(redis_binary(), home))
            gates.append((redis_gate(server.uri(), size, expires), server))
        yield gates


def _rounds_until(moment: float) -> Iterator[int]:
    number = 0
    while time.time() < moment:
        yield number
        number += 1
