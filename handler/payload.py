"""The digest that binds a challenge to a payload, over the request as the handler receives it.

TorchServe has parsed the body by then, so client and server need not agree on bytes: parts in name order,
everything length-prefixed and tagged by its kind, JSON in one canonical form.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256


def payload_digest(parts: Mapping[str, object], purpose: str) -> str:
    """Hexadecimal SHA-256 of a request's parts and of what is asked of them (`predict`, `explain`)."""
    digest = sha256()
    for piece in _pieces(parts, purpose):
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return digest.hexdigest()


def _pieces(parts: Mapping[str, object], purpose: str) -> Iterator[bytes | bytearray]:
    yield purpose.encode()
    for name in sorted(parts):
        yield name.encode("utf-8", "surrogatepass")
        yield from _value(parts[name])


def _value(value: object) -> Iterator[bytes | bytearray]:
    if isinstance(value, bytes | bytearray):
        yield b"bytes"
        yield value
    elif isinstance(value, str):
        yield b"text"
        yield value.encode("utf-8", "surrogatepass")
    else:
        yield b"json"
        yield json.dumps(value, sort_keys=True, separators=(",", ":"), default=repr).encode()
