"""Probe keys: each gets answers to one payload, at the floor and without evidence, to see if the gate can answer.

The account of such a key is named for its payload and has Rule.PROBE. Whoever steals the key learns one answer.
"""

import json
from hashlib import sha256

_PREFIX = "probe:"


def probe_account(payload: object) -> str:
    """Return the name of the account for a payload: bytes, or the value of a JSON document."""
    return f"{_PREFIX}{payload_digest(payload)}"


def is_probe(account: str, digest: str) -> bool:
    """Return whether a request with this digest of its payload has the payload that an account is for."""
    return bool(digest) and account == f"{_PREFIX}{digest}"


def payload_digest(payload: object) -> str:
    """Return the SHA-256 of a payload, in hexadecimal; empty for what is neither bytes nor of JSON."""
    if isinstance(payload, bytes | bytearray):
        return sha256(b"bytes " + payload).hexdigest()
    try:
        text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return ""
    return sha256(f"json {text}".encode()).hexdigest()
