"""Exact digest of a request, over everything that the victim may read of it.

The digest covers the parts as TorchServe has parsed them, in the order in which the handler receives them, each
prefixed with its length and tagged by its type. Client and server need not agree on the bytes of the body.
"""

import json
import marshal
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

# These differ whenever a request is sent again, and describe its transport and not its content. Decision 0004.
TRANSPORT_HEADERS = frozenset(
    (
        *("connection", "content-length", "date", "forwarded", "traceparent", "tracestate", "via", "x-request-id"),
        *("x-amzn-trace-id", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"),
    )
)
_BOUNDARY = re.compile(r';\s*boundary=(?:"[^"]*"|[^;]*)', re.IGNORECASE)


def request_digest(
    purpose: str, parts: Mapping[str, object], properties: Mapping[str, object], ours: Iterable[str]
) -> str:
    """Return the SHA-256 of a request, in hexadecimal.

    purpose: what is asked of the model, and of which version.
    parts: the parts of the body.
    properties: headers, path and the parts' own headers, as TorchServe gives them to a handler.
    ours: names of headers in lower case that are left out, as are a form's boundary and the transport's headers.

    Raises RecursionError or ValueError for values that are nested too deep.
    """
    digest = sha256()
    for piece in _pieces(purpose, parts, properties, frozenset(ours) | TRANSPORT_HEADERS):
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return digest.hexdigest()


def _pieces(
    purpose: str, parts: Mapping[str, object], properties: Mapping[str, object], left_out: frozenset[str]
) -> Iterator[bytes | bytearray]:
    yield purpose.encode()
    yield str(len(parts)).encode()
    for name, value in parts.items():
        yield name.encode("utf-8", "surrogatepass")
        yield from _value(value)
    for name in sorted(properties):
        if name.lower() not in left_out:
            yield name.encode("utf-8", "surrogatepass")
            yield from _value(_without_boundary(name, properties[name]))


def _without_boundary(name: str, value: object) -> object:
    if name.lower() == "content-type" and isinstance(value, str):
        return _BOUNDARY.sub("", value)
    return value


def _value(value: object) -> Iterator[bytes | bytearray]:
    if isinstance(value, bytes | bytearray):
        yield b"bytes"
        yield value
    elif isinstance(value, str):
        yield b"text"
        yield value.encode("utf-8", "surrogatepass")
    else:
        yield b"json"
        yield _serialised(value)


def _serialised(value: object) -> bytes:
    """Return bytes that two values share only if a handler cannot tell them apart."""
    # marshal takes 5 ms for 6 MB of parsed JSON, json 150 ms. Version 2 depends on the values alone; later ones also on
    # how often an object is referenced.
    try:
        return marshal.dumps(value, 2)  # type: ignore[arg-type]  # raises for what it cannot write
    except ValueError:  # nested deeply, or not of JSON
        return json.dumps(value, separators=(",", ":"), default=repr).encode()
