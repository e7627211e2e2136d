"""Exact digest of a request, over everything that the victim may read of it.

The digest covers the parts as TorchServe has parsed them, in the order in which the handler receives them, each
prefixed with its length and tagged by its type. Client and server need not agree on the bytes of the body.
"""

import json
import marshal
import re
from collections.abc import Container, Iterable, Mapping
from hashlib import sha256

# These differ whenever a request is sent again, and describe its transport and not its content. Decision 0004.
TRANSPORT_HEADERS = frozenset(
    (
        *("connection", "content-length", "date", "forwarded", "traceparent", "tracestate", "via", "x-request-id"),
        *("x-amzn-trace-id", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"),
    )
)
# Bytes from which on a piece is hashed where it is: a call of the hash takes as long as copying some thousand bytes.
LARGE = 65_536
_BOUNDARY = re.compile(r';\s*boundary=(?:"[^"]*"|[^;]*)', re.IGNORECASE)


def request_digest(
    purpose: str, parts: Mapping[str, object], properties: Mapping[str, object], left_out: Container[str]
) -> str:
    """Return the SHA-256 of a request, in hexadecimal.

    purpose: what is asked of the model, and of which version.
    parts: the parts of the body.
    properties: headers, path and the parts' own headers, as TorchServe gives them to a handler.
    left_out: names of headers in lower case. A form's boundary is left out as well.

    Raises RecursionError or ValueError for values that are nested too deep.
    """
    pieces: list[bytes | bytearray] = [purpose.encode(), str(len(parts)).encode()]
    for name, value in parts.items():
        pieces += (name.encode("utf-8", "surrogatepass"), *_tagged(value))
    for name in sorted(properties):
        lower = name.lower()
        if lower not in left_out:
            value = properties[name]
            if lower == "content-type" and isinstance(value, str):
                value = _BOUNDARY.sub("", value)
            pieces += (name.encode("utf-8", "surrogatepass"), *_tagged(value))
    return _digest_of(pieces)


def _digest_of(pieces: Iterable[bytes | bytearray]) -> str:
    """Return the SHA-256 of all pieces, each after its length. Short ones are joined, large ones are not copied."""
    digest, short = sha256(), list[bytes | bytearray]()
    for piece in pieces:
        short.append(len(piece).to_bytes(8, "big"))
        if len(piece) < LARGE:
            short.append(piece)
        else:
            digest.update(b"".join(short))
            digest.update(piece)
            short = []
    digest.update(b"".join(short))
    return digest.hexdigest()


def _tagged(value: object) -> tuple[bytes, bytes | bytearray]:
    """Return the type of a value, and its bytes."""
    if isinstance(value, str):
        return b"text", value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes | bytearray):
        return b"bytes", value
    return b"json", _serialised(value)


def _serialised(value: object) -> bytes:
    """Return bytes that two values share only if a handler cannot tell them apart."""
    # marshal takes 5 ms for 6 MB of parsed JSON, json 150 ms. Version 2 depends on the values alone; later ones also on
    # how often an object is referenced.
    try:
        return marshal.dumps(value, 2)  # type: ignore[arg-type]  # raises for what it cannot write
    except ValueError:  # nested deeply, or not of JSON
        return json.dumps(value, separators=(",", ":"), default=repr).encode()
