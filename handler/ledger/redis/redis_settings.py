"""The part of the ledger in Redis that operators set: keys, secrets, rules, limits and modes."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from calpow.handler.errors import LedgerError
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.api_key import ApiKey, check_account, check_new_account, group_of
from calpow.handler.ledger.holders import Key, KeyRecord, Secret
from calpow.handler.ledger.limits import NO_LIMITS, AccountLimits, read_limits
from calpow.handler.ledger.redis import redis_scripts
from calpow.handler.ledger.redis.redis_client import RedisClient, Script, Value

# Keys, members or accounts that are read at once. More would hold up the server, and with it all workers.
PAGE = 500


class RedisSettings:
    """The part of the ledger in a server or cluster that operators change."""

    def __init__(self, uri: str) -> None:
        self._redis = RedisClient(uri)

    def deployment(self) -> str:
        """Return the name of this deployment."""
        key = self._key("deployment")
        self._redis.call("SET", key, secrets.token_hex(3), "NX")
        return str(self._redis.call("GET", key).decode())

    def secrets(self) -> tuple[Secret, ...]:
        """Return the signing secrets, oldest first."""
        found = self._redis.script(Script(redis_scripts.SECRETS, [self._key("secrets")], [_packed_secret(_secret())]))
        return tuple(map(_read_secret, found))

    def rotate_secret(self) -> Secret:
        """Add a signing secret, and forget all others but the newest."""
        secret = _secret()
        self.secrets()
        self._keep(Script(redis_scripts.ROTATE, [self._key("secrets")], [_packed_secret(secret)]).command)
        return secret

    def add_key(self, account: str, expires: float | None = None) -> str:
        """Create a key and return it in clear."""
        check_new_account(account)
        self._begin()
        key = ApiKey.generate()
        while not self._is_added(KeyRecord(key.id, key.digest, account, time.time(), None, expires)):
            key = ApiKey.generate()
        return key.text

    def restore_keys(self, records: Sequence[KeyRecord]) -> None:
        """Add keys of another ledger."""
        self._begin()
        for record in records:
            check_account(record.account)
        for start in range(0, len(records), PAGE):
            page = records[start : start + PAGE]
            self._redis.call("SADD", self._key("keys"), *(record.id for record in page))
            self._keep(*(self._addition(record).command for record in page))

    def _begin(self) -> None:
        """Name the deployment and make its first secret, which a new ledger has with its first key, as a file has."""
        self.deployment()
        self.secrets()

    def key_records(self) -> tuple[KeyRecord, ...]:
        """Return all keys with their digests, oldest first."""
        ids = self._members(self._key("keys"))
        fields = ("digest", "account", "created", "revoked", "expires")
        records = []
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            found = self._redis.calls([("HMGET", self._key("key", name), *fields) for name in page])
            records += [_read_key(name, row) for name, row in zip(page, found, strict=True) if row[0] is not None]
        return tuple(sorted(records, key=lambda record: (record.created, record.id)))

    def keys(self) -> tuple[Key, ...]:
        """Return all keys, oldest first."""
        return tuple(
            Key(record.id, record.account, record.created, record.revoked, record.expires)
            for record in self.key_records()
        )

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key."""
        name = key_id if key_id.isascii() else ""
        revocation = Script(redis_scripts.REVOKE_KEY, [self._key("key", name)], [repr(time.time())])
        if self._keep(revocation.command) == [0]:
            raise LedgerError(f"there is no key {key_id!r} in this ledger: `calpow keys list` shows those there are")

    def account_of(self, key: str) -> str | None:
        """Return the account of a key, or None."""
        return self._accounts_of([key])[0]

    def rule(self, account: str) -> Rule:
        """Return the operator's rule for an account or its group."""
        names = [account, group_of(account) or account]
        own, group = self._redis.calls([("GET", self._of(name, "rule")) for name in names])
        return read_rule(own).with_group(read_rule(group))

    def rules(self) -> Mapping[str, Rule]:
        """Return the rules that operators have set, by account."""
        found = self._redis.call("HGETALL", self._key("rules"))
        return {account.decode(): read_rule(rule) for account, rule in sorted(found.items())}

    def set_rule(self, account: str, rule: Rule) -> None:
        """Set the operator's rule for an account."""
        check_account(account)
        self._keep(("SET", self._of(account, "rule"), rule.value), ("HSET", self._key("rules"), account, rule.value))

    def limits_of(self, account: str) -> AccountLimits:
        """Return the limits that the operator has set for an account."""
        limits = self._redis.call("GET", self._of(account, "limits"))
        return NO_LIMITS if limits is None else read_limits(limits)

    def limits(self) -> Mapping[str, AccountLimits]:
        """Return the limits that operators have set, by account."""
        found = self._redis.call("HGETALL", self._key("limits"))
        return {account.decode(): read_limits(limits) for account, limits in sorted(found.items())}

    def set_limits(self, account: str, limits: AccountLimits) -> None:
        """Set the limits of an account."""
        check_account(account)
        if limits == NO_LIMITS:
            self._keep(("DEL", self._of(account, "limits")), ("HDEL", self._key("limits"), account))
        else:
            text = json.dumps(limits)
            self._keep(("SET", self._of(account, "limits"), text), ("HSET", self._key("limits"), account, text))

    def check_store(self) -> None:
        """Look whether the server was set to evict since it was connected."""
        self._redis.check_again()

    def mode(self, model: str) -> str | None:
        """Return the mode that an operator has set for a model, or None."""
        mode = self._redis.call("HGET", self._key("modes"), model)
        return None if mode is None else str(mode.decode())

    def set_mode(self, model: str, mode: str | None) -> None:
        """Set the mode of a model, or leave it to the archive."""
        if mode is None:
            self._keep(("HDEL", self._key("modes"), model))
        else:
            self._keep(("HSET", self._key("modes"), model, mode))

    def modes(self) -> Mapping[str, str]:
        """Return the modes that operators have set, by model."""
        found = self._redis.call("HGETALL", self._key("modes"))
        return {model.decode(): mode.decode() for model, mode in sorted(found.items())}

    def _keep(self, *commands: Sequence[Value]) -> list[Any]:
        """Run commands whose changes no failover may lose, as far as the URI says."""
        return self._redis.keep(commands)

    def _members(self, key: str) -> list[str]:
        """Return the members of a set in order, read a page at a time; newer ones may be missing."""
        members: set[str] = set()
        cursor: Any = 0
        while True:
            cursor, page = self._redis.call("SSCAN", key, cursor, "COUNT", PAGE)
            members.update(name.decode() for name in page)
            if int(cursor) == 0:
                return sorted(members)

    def _key(self, *parts: str) -> str:
        return ":".join([self._redis.prefix, *parts])

    def _of(self, account: str, *parts: str) -> str:
        """Return a key of an account. Of a name in braces, Redis Cluster takes the slot: a group's for all members."""
        group = group_of(account)
        if group is None:
            return self._key(f"{{{_tag(account)}}}", *parts)
        return self._key(f"{{{_tag(group)}}}", "member", _tag(account), *parts)

    def _is_added(self, record: KeyRecord) -> bool:
        """Add a key and return True; return False where another key has its id."""
        self._redis.call("SADD", self._key("keys"), record.id)
        return self._keep(self._addition(record).command) == [1]

    def _addition(self, record: KeyRecord) -> Script:
        times = ["" if time is None else repr(time) for time in (record.revoked, record.expires)]
        arguments: list[Value] = [record.digest, record.account, repr(record.created), *times]
        return Script(redis_scripts.ADD_KEY, [self._key("key", record.id)], arguments)

    def _accounts_of(self, keys: Sequence[str]) -> list[str | None]:
        presented = [ApiKey.read(key) for key in keys]
        ids = [key.id for key in presented if key is not None]
        found = iter(
            self._redis.calls(
                [("HMGET", self._key("key", name), "digest", "account", "revoked", "expires") for name in ids]
            )
        )
        return [None if key is None else _account_of(key, next(found)) for key in presented]


def _tag(account: str) -> str:
    """Return a name of an account for keys: accounts may hold braces."""
    return sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _secret() -> Secret:
    return Secret(secrets.token_hex(4), secrets.token_bytes(32))


def _packed_secret(secret: Secret) -> str:
    return f"{secret.id}:{secret.value.hex()}"


def _read_secret(text: bytes) -> Secret:
    name, _, value = text.decode().partition(":")
    return Secret(name, bytes.fromhex(value))


def _read_key(name: str, row: Sequence[Any]) -> KeyRecord:
    digest, account, created, *times = row
    revoked, expires = (None if time is None else float(time) for time in times)
    return KeyRecord(name, digest, account.decode(), float(created), revoked, expires)


def _account_of(key: ApiKey, record: Sequence[bytes | None]) -> str | None:
    """Return the account of a key, from the record of its id; None where that is another's, revoked or expired."""
    digest, account, revoked, expires = record
    if digest is None or account is None or not key.matches(digest) or revoked is not None:
        return None
    if expires is not None and float(expires) <= time.time():
        return None
    return account.decode()


def read_rule(rule: bytes | None) -> Rule:
    """Return the rule that a value of Redis names."""
    return Rule.PRICED if rule is None else Rule(rule.decode())
