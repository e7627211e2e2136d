"""The origin of a URL, to which alone an API key may go."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

_PORTS = {"http": 80, "https": 443}


def same_origin(home: str, url: str) -> bool:
    """Return whether `url` has the origin of `home` (RFC 6454), or is on the same host with TLS on top."""
    try:
        there, here = _origin(home), _origin(url)
    except ValueError:
        return False
    upgraded = there[0] == "http" and there[2] == 80 and here == ("https", there[1], 443)
    return here == there or upgraded


def leads_home(home: str, url: str, location: str) -> bool:
    """Return whether a redirect from `url` to `location`, a header's value, is sure to stay at the origin of `home`."""
    try:
        parts = urlsplit(location)
        # In a location such as "////host", urljoin sees a path, and requests a host.
        return not (parts.path.startswith("//") and not parts.netloc) and same_origin(home, urljoin(url, location))
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
