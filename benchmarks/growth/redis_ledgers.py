"""Large ledgers for `benchmarks.growth` in Redis, filled with generated accounts and ids by the ledger itself."""

import itertools
import random
import time
from collections.abc import Iterator, Sequence

from benchmarks.growth.large_ledgers import CREATED, SEED, users
from calpow.archiver.progress import track
from calpow.handler.ledger.history import (
    DIGEST_BYTES,
    DIGESTS,
    MICRO,
    NO_HISTORY,
    RECENT,
    SKETCH_BYTES,
    SKETCHES,
    History,
)
from calpow.handler.ledger.holders import KeyRecord
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.settlement import Settlement, Spending
from calpow.handler.ledger.solutions import Outcome

# Scripts of one round trip.
CHUNK = 200
# Stamps of a prepaid solution, each of which is an id.
IDS = 31
# Accounts whose ids are filled in.
SPENDERS = 1_000


def fill_redis(ledger: Ledger, model: str, accounts: int, bets: int) -> list[str]:
    """Add accounts of one model and a key for each to a new ledger, as `large_ledgers.fill`; return their names."""
    rng = random.Random(SEED)
    sent = users(rng, accounts)
    changes = (Settlement(name, 0, _history(rng, count, bets), 0, ()) for name, count in sent.items())
    for page in _pages(track(changes, "filling accounts", "account", accounts)):
        _settle(ledger, model, page)
    names = iter(track(sent, "filling keys", "key"))
    while some := list(itertools.islice(names, CHUNK)):
        ledger.restore_keys(
            [KeyRecord(f"{rng.getrandbits(32):08x}", rng.randbytes(32), name, CREATED, None, None) for name in some]
        )
    return list(sent)


def spend_ids(ledger: Ledger, model: str, ids: int, expires: float) -> None:
    """Spend ids with their outcomes, all of which may be forgotten at the same time."""
    rng, now = random.Random(SEED), time.time()

    def spent(number: int) -> Settlement:
        names = tuple(rng.randbytes(32).hex() for _ in range(IDS))
        outcome = Outcome(rng.randbytes(32).hex(), rng.randbytes(32).hex(), now, 8, 8, 0)
        account, before = number % SPENDERS, number // SPENDERS
        return Settlement(f"spender-{account}", before, NO_HISTORY, 0, (Spending(names, outcome, expires),), True)

    solutions = -(-ids // IDS)
    for page in _pages(track(map(spent, range(solutions)), "spending ids", "solution", solutions)):
        _settle(ledger, model, page)


def _history(rng: random.Random, queries: int, bets: int) -> History:
    new = queries % RECENT
    old = queries - new
    return History(
        queries * MICRO // 10,
        queries,
        (0,) * bets,
        rng.randbytes(min(old, DIGESTS) * DIGEST_BYTES),
        rng.randbytes(min(old, SKETCHES) * SKETCH_BYTES),
        rng.randbytes(new * DIGEST_BYTES),
        rng.randbytes(new * SKETCH_BYTES),
    )


def _pages(changes: Iterator[Settlement]) -> Iterator[Sequence[Settlement]]:
    while page := list(itertools.islice(changes, CHUNK)):
        yield page


def _settle(ledger: Ledger, model: str, page: Sequence[Settlement]) -> None:
    if not all(ledger.settle(model, page, now=time.time())):
        raise RuntimeError("the ledger that is filled is not a new one")
