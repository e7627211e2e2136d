"""Verification of a ledger in Redis or Valkey, which it only reads."""

import re
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from calpow.archiver.ledger_care.inspection import (
    Inspection,
    account_faults,
    deployment_faults,
    key_faults,
    mode_faults,
    rule_faults,
)
from calpow.archiver.progress import track
from calpow.handler.errors import LedgerUnavailable
from calpow.handler.ledger.holders import KeyRecord
from calpow.handler.ledger.redis.redis_client import NO_EVICTION, RedisClient
from calpow.handler.ledger.redis.redis_ledger import RedisLedger

# Of the names that follow the prefix: one part of each of the kinds that the ledger keeps.
_KINDS = re.compile(
    r"(?:\{[0-9a-f]{24}\}(?::member:[0-9a-f]{24})?:)?"
    r"(?P<kind>deployment|secrets|keys|key|rules|rule|modes|models|accounts|account|id|outcome|failures|limits?)(?::|$)"
)
_PASSING = frozenset({"id", "outcome", "failures"})
_PAGE = 500
# The parts of a row that cannot be unpacked raise these.
_CUT_OFF = (struct.error, ValueError, TypeError, AttributeError, IndexError)


def inspect_redis(uri: str) -> Inspection:
    """Return what is in the ledger of a URI and what is wrong with it; workers may go on meanwhile.

    Raises LedgerUnavailable.
    """
    inspection, ledger, client = Inspection(), RedisLedger(uri), RedisClient(uri)
    for fault in _server_faults(client):
        inspection.find(fault)
    kinds = _check_names(client, inspection)
    secrets = [_secret(value) for value in client.call("LRANGE", f"{client.prefix}:secrets", 0, -1)]
    name = client.call("GET", f"{client.prefix}:deployment")
    for fault in deployment_faults([] if name is None else [name.decode()], secrets):
        inspection.find(fault)
    records = ledger.key_records()
    for record in records:
        inspection.find_all(key_faults(record), record.id)
    _check_values(client, inspection)
    accounts, samples = _check_accounts(ledger, client, inspection)
    if kinds["account"] > accounts:
        inspection.find(
            f"the list of accounts lacks {kinds['account'] - accounts:,}, or they came meanwhile: verify again"
        )
    inspection.counts |= {
        "keys": kinds["key"],
        "valid keys": sum(record.revoked is None and not _has_expired(record) for record in records),
        "rules": kinds["rule"],
        "accounts": accounts,
        "samples": samples,
        "ids": kinds["id"],
        "spent solutions": kinds["outcome"],
        "signing secrets": len(secrets),
    }
    return inspection


def _has_expired(record: KeyRecord) -> bool:
    return record.expires is not None and record.expires <= time.time()


def _server_faults(client: RedisClient) -> Iterator[str]:
    """Yield what is wrong with the settings and the past of the server, or of a primary of its cluster."""
    try:
        nodes = list(zip(client.states("memory"), client.states("persistence"), client.states("stats"), strict=True))
    except LedgerUnavailable as error:
        yield f"the server does not say how it is set ({error})"
        return
    for memory, disk, past in nodes:
        policy = memory.get("maxmemory_policy", NO_EVICTION)
        if policy != NO_EVICTION:
            yield f"once maxmemory is set, the server evicts spent solutions: set maxmemory-policy {NO_EVICTION}"
        if disk.get("aof_enabled") == 0:
            yield "the server forgets the last minutes or everything when it is killed: set appendonly yes"
        if past.get("evicted_keys", 0):
            yield f"the server has evicted keys ({past['evicted_keys']:,}): spent work among them is good again"


def _check_names(client: RedisClient, inspection: Inspection) -> Mapping[str, int]:
    """Check the names of all keys and whether they expire, and return how many there are of each kind."""
    counts: Counter[str] = Counter()
    names = track(client.names(f"{client.prefix}:*"), "keys of the server", "key")
    while page := list(islice(names, _PAGE)):
        times = client.calls([("TTL", name) for name in page])
        for name, seconds in zip(page, times, strict=True):
            found = _KINDS.match(name[len(client.prefix) + 1 :])
            kind = found["kind"] if found else ""
            counts[kind] += 1
            if not kind:
                inspection.find("a key is none of the ledger's", name)
            elif kind in _PASSING and seconds == -1:
                inspection.find("a spent id or the like never expires", name)
            elif kind not in _PASSING and seconds >= 0:
                inspection.find("what must stay for good expires", name)
    return counts


def _check_values(client: RedisClient, inspection: Inspection) -> None:
    """Check the rules and the modes."""
    for name, check in (("rules", rule_faults), ("modes", mode_faults)):
        for owner, value in client.call("HGETALL", f"{client.prefix}:{name}").items():
            inspection.find_all(check(value.decode()), owner.decode())


def _check_accounts(ledger: RedisLedger, client: RedisClient, inspection: Inspection) -> tuple[int, int]:
    """Check all accounts that are listed, and return how many there are and how many samples they have had."""
    accounts = samples = 0
    for model in ledger.models():
        for name in track(_members(client, f"{client.prefix}:accounts:{model}"), f"accounts of {model}", "account"):
            try:
                state = ledger.account(model, name)
            except _CUT_OFF:
                inspection.find("an account cannot be read", f"{name} of {model}")
                accounts += 1
                continue
            if state.version:
                accounts += 1
                samples += state.history.queries
                inspection.find_all(account_faults(state.history, state.version), f"{name} of {model}")
    return accounts, samples


def _members(client: RedisClient, key: str) -> set[str]:
    """Return the members of a set, read a page at a time."""
    members: set[str] = set()
    cursor: Any = 0
    while True:
        cursor, page = client.call("SSCAN", key, cursor, "COUNT", _PAGE)
        members.update(name.decode() for name in page)
        if int(cursor) == 0:
            return members


def _secret(value: bytes) -> bytes:
    """Return a secret, or nothing where it cannot be read."""
    try:
        return bytes.fromhex(value.decode().partition(":")[2])
    except ValueError:
        return b""
