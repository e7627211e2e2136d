"""The identity that a client sends with its requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from calpow.client.errors import UnusableKey
from calpow.puzzle.wire import IDENTITY_HEADER, KEY_HEADER

IDENTITY_HEADERS = (KEY_HEADER, IDENTITY_HEADER)
"""The headers that state a client's identity, which must not reach another origin."""


class Caller:
    """The identity of a client: an API key, a token of an identity provider, or none.

    A token may be a function that returns a fresh one. It is called before each sending.
    """

    def __init__(self, key: str | None = None, token: str | Callable[[], str] | None = None) -> None:
        """Raise UnusableKey for a key or a token that cannot be sent in a header, and for both together."""
        if key is not None and token is not None:
            raise UnusableKey("a key and a token were given: a request is of one account, so give one of them")
        if key is not None:
            _check(key, "API key")
        if isinstance(token, str):
            _check(token, "token")
        self.key = key
        self._token = token

    @property
    def header(self) -> str | None:
        """The name of the header that states the identity; None if there is none."""
        if self.key is not None:
            return KEY_HEADER
        return None if self._token is None else IDENTITY_HEADER

    def headers(self) -> Mapping[str, str]:
        """Return the headers to send. Raises UnusableKey for a fresh token that cannot be sent, or what its function
        raises.
        """
        if self.key is not None:
            return {KEY_HEADER: self.key}
        if self._token is None:
            return {}
        if isinstance(self._token, str):
            return {IDENTITY_HEADER: self._token}
        token = self._token()
        _check(token, "token")
        return {IDENTITY_HEADER: token}


def _check(text: object, name: str) -> None:
    """Raise UnusableKey for what cannot be sent in a header. Programs without types may give anything."""
    if not isinstance(text, str):
        raise UnusableKey(f"the {name} is {type(text).__name__}, not str: give it as text, for example key.decode()")
    if not text or not text.isascii() or not text.isprintable() or text != text.strip():
        raise UnusableKey(f"the {name} is empty or not plain printable ASCII: give it as it was handed out")
