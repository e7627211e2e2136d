"""The ledger: one shared book of accounts, spent solutions and keys. A URI says where it is."""

import os
from pathlib import Path

from calpow.handler.ledger.ledger import Ledger, LedgerError
from calpow.handler.ledger.sqlite import SqliteLedger

DEFAULT_URI = "sqlite:///~/.calpow/ledger.db"
URI_VARIABLE = "CALPOW_LEDGER"

_SUPPORTED = "give sqlite:///relative/path or sqlite:////absolute/path"


def ledger_uri(explicit: str | None) -> str:
    """Where the ledger is: what was given, else the environment's CALPOW_LEDGER, else DEFAULT_URI."""
    return explicit or os.environ.get(URI_VARIABLE) or DEFAULT_URI


def open_ledger(uri: str) -> Ledger:
    """The ledger a URI names; nothing is opened before it is used.

    A relative path counts from the working directory of this moment. Raises LedgerError when the URI names none.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme != "sqlite":
        raise LedgerError(f"no ledger for {scheme + separator or 'an empty URI'}: {_SUPPORTED}")
    if not rest.startswith("/") or rest.endswith("/"):
        raise LedgerError(f"the ledger's URI {uri} names no file: {_SUPPORTED}")
    if rest == "/:memory:":
        raise LedgerError(f"a ledger in memory cannot be shared between workers: {_SUPPORTED}")
    try:
        return SqliteLedger(Path(rest[1:]).expanduser().absolute())
    except RuntimeError as problem:
        raise LedgerError(f"the ledger's URI {uri} names no home directory: {_SUPPORTED}") from problem


def shared_uri(explicit: str | None) -> str:
    """`ledger_uri`, for workers: each runs in a folder of its own, so that a relative path names no common file.

    Raises LedgerError for one.
    """
    uri = ledger_uri(explicit)
    if uri.startswith("sqlite:///") and not uri.startswith(("sqlite:////", "sqlite:///~")):
        raise LedgerError(f"workers run in folders of their own, {uri} is relative: give sqlite:////absolute/path")
    return uri
