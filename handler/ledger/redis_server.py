"""What the settings and the past of a Redis server mean for a ledger: whether it forgets what must not be forgotten."""

from collections.abc import Iterator, Mapping
from typing import Any

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.ledger.redis_client import RedisClient

NO_EVICTION = "noeviction"


def server_faults(client: RedisClient) -> Iterator[str]:
    """Yield what is wrong with the server of a ledger, or with a primary of its cluster."""
    try:
        nodes = list(zip(client.states("memory"), client.states("persistence"), client.states("stats"), strict=True))
    except LedgerUnavailable as error:
        yield f"the server does not say how it is configured ({error})"
        return
    for memory, disk, past in nodes:
        policy = _policy(memory)
        if policy != NO_EVICTION:
            yield f"the server may evict spent solutions: set maxmemory-policy {NO_EVICTION} instead of {policy}"
        if disk.get("aof_enabled") == 0:
            yield "the server forgets the last seconds or everything when it is killed: set appendonly yes"
        if past.get("evicted_keys", 0):
            yield f"the server has evicted {past['evicted_keys']:,} keys: spent solutions among them can be used again"


def _policy(memory: Mapping[str, Any]) -> str:
    return str(memory.get("maxmemory_policy", NO_EVICTION))
