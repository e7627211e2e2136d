"""Whether two URLs are one server's: where a key may go."""

from __future__ import annotations

from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def same_origin(home: str, url: str) -> bool:
    """Whether `url` is on the origin of `home` (RFC 6454), or on the same host with TLS on top."""
    try:
        there, here = _origin(home), _origin(url)
    except ValueError:
        return False
    upgraded = there[0] == "http" and there[2] == 80 and here == ("https", there[1], 443)
    return here == there or upgraded


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
