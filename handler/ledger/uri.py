"""The URI that names a ledger: its default, and opening the ledger that it names."""

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from calpow.handler.errors import LedgerError
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger

DEFAULT_URI = "sqlite:///~/.calpow/ledger.db"
URI_VARIABLE = "CALPOW_LEDGER"

REDIS = ("redis", "rediss")

_SUPPORTED = "give sqlite:///relative/path, sqlite:////absolute/path or redis://host:port/0"


def ledger_uri(explicit: str | None) -> str:
    """Return the ledger's URI: `explicit`, else the environment's CALPOW_LEDGER, else DEFAULT_URI."""
    return explicit or os.environ.get(URI_VARIABLE) or DEFAULT_URI


def open_ledger(uri: str) -> Ledger:
    """Return the ledger that a URI names. Nothing is opened before its first use.

    A relative path counts from the current working directory. Raises LedgerError when the URI does not name a ledger.
    """
    return _open_redis(uri) if is_redis(uri) else SqliteLedger(sqlite_path(uri))


def is_redis(uri: str) -> bool:
    """Return whether a URI names a ledger in Redis."""
    scheme, separator, _ = uri.partition("://")
    return bool(separator) and scheme in REDIS


def sqlite_path(uri: str) -> Path:
    """Return the absolute path of the SQLite file that a URI names. Raises LedgerError when it names none."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme != "sqlite":
        raise LedgerError(f"no ledger for {scheme + separator or 'an empty URI'}: {_SUPPORTED}")
    if not rest.startswith("/") or rest.endswith("/"):
        raise LedgerError(f"the ledger's URI {uri} names no file: {_SUPPORTED}")
    if rest == "/:memory:":
        raise LedgerError(f"a ledger in memory cannot be shared between workers: {_SUPPORTED}")
    try:
        return Path(rest[1:]).expanduser().absolute()
    except RuntimeError as error:
        raise LedgerError(f"the ledger's URI {uri} names no home directory: {_SUPPORTED}") from error


def without_password(uri: str) -> str:
    """Return a ledger's URI as messages show it: without credentials, which Redis also takes as parameters.

    Of the parameters, the prefix stays: it tells ledgers in one Redis apart.
    """
    scheme, separator, rest = uri.partition("://")
    if scheme not in REDIS:
        return uri
    place, _, parameters = rest.partition("?")
    prefix = dict(parse_qsl(parameters)).get("prefix")
    named = "" if prefix is None else f"?{urlencode({'prefix': prefix})}"
    return f"{scheme}{separator}{place.rpartition('@')[2]}{named}"


def holds_password(uri: str) -> bool:
    """Return whether a ledger's URI has credentials, before its host or as a parameter."""
    scheme, _, rest = uri.partition("://")
    place, _, parameters = rest.partition("?")
    return scheme in REDIS and ("@" in place or "password=" in parameters)


def _open_redis(uri: str) -> Ledger:
    """Return a ledger in Redis. The client is imported here: whoever has no such ledger need not have it."""
    if find_spec("redis") is None:
        raise LedgerError("a ledger in Redis needs the package redis: pip install 'calpow[redis]', on every node")
    from calpow.handler.ledger.redis.redis_ledger import RedisLedger

    return RedisLedger(uri)


def shared_uri(explicit: str | None) -> str:
    """Return `ledger_uri(explicit)` for workers.

    Raises LedgerError for a relative path: each worker runs in its own directory, so a relative path would name a
    different file for each of them. Decision 0012.
    """
    uri = ledger_uri(explicit)
    if uri.startswith("sqlite:///") and not uri.startswith(("sqlite:////", "sqlite:///~")):
        raise LedgerError(f"workers run in folders of their own, {uri} is relative: give sqlite:////absolute/path")
    return uri
