"""The exact digest of a request, over everything that the victim may read of it.

TorchServe has parsed the body by then, so client and server need not agree on bytes: parts in the order in which the
handler gets them, everything length-prefixed and tagged by its kind.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

# They differ each time a request is sent, and tell of its way and not of its content.
_TRANSPORT = frozenset(
    (
        *("connection", "content-length", "date", "forwarded", "traceparent", "tracestate", "via", "x-request-id"),
        *("x-amzn-trace-id", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"),
    )
)
_BOUNDARY = re.compile(r';\s*boundary=(?:"[^"]*"|[^;]*)', re.IGNORECASE)


def request_digest(
    purpose: str, parts: Mapping[str, object], properties: Mapping[str, object], ours: Iterable[str]
) -> str:
    """Hexadecimal SHA-256 of a request.

    purpose: what is asked, and of which version of the model. parts: the body's. properties: headers, path and the
    parts' own headers, as TorchServe hands them to a handler; `ours` are left out, in lower case, and so are a form's
    boundary and what a transport adds. Raises RecursionError or ValueError for values nested too deep.
    """
    digest = sha256()
    for piece in _pieces(purpose, parts, properties, frozenset(ours) | _TRANSPORT):
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
        yield json.dumps(value, separators=(",", ":"), default=repr).encode()
