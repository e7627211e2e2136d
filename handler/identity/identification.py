"""Identification of requests, by the ways that the owner allows."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from calpow.handler.errors import GateMisconfigured, UnknownIdentity
from calpow.handler.identity.account_name import ANONYMOUS_ACCOUNT
from calpow.handler.identity.credentials import Credentials
from calpow.handler.identity.identity_settings import (
    DEFAULT_PROXY,
    PATH_VARIABLE,
    IdentitySettings,
    JwtSettings,
    check_apart,
)
from calpow.handler.identity.trusted_proxy import TrustedProxy
from calpow.handler.identity.ways import IdentityWay
from calpow.handler.ledger.holders import Identity
from calpow.handler.logs.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from calpow.handler.identity.token_verifier import TokenVerifier

_log = logging.getLogger(__name__)
_refusals = RateLimitedLog(_log, "calpow: an identity is refused: ")


class Identification:
    """Tells the identity of requests: a key that the ledger may know, or the account that another proof names.

    The ways are tried in the order of IdentityWay. The first one that is allowed, and for which a request has
    something to show, decides: what it refuses is tried in no other way. Headers of ways that are not allowed are not
    looked at.
    """

    def __init__(
        self, ways: Collection[IdentityWay], tokens: TokenVerifier | None = None, proxy: TrustedProxy | None = None
    ) -> None:
        """`tokens` and `proxy` are those of the ways `jwt` and `proxy`, where these are allowed."""
        self.ways = tuple(way for way in IdentityWay if way in ways)
        self._tokens = tokens
        self._proxy = proxy

    @classmethod
    def load(cls, ways: Collection[IdentityWay], environment: Mapping[str, str]) -> Identification:
        """Return the identification by some ways, with the settings of a worker's environment.

        Raises GateMisconfigured.
        """
        tokens = proxy = None
        if IdentityWay.jwt in ways or IdentityWay.proxy in ways:
            settings = IdentitySettings.load(environment)
            if IdentityWay.jwt in ways:
                tokens = _token_verifier(settings.jwt)
            if IdentityWay.proxy in ways:
                proxy = TrustedProxy(settings.proxy or DEFAULT_PROXY, environment)
            if tokens is not None and proxy is not None and settings.jwt is not None:
                check_apart(settings.jwt.prefix, (settings.proxy or DEFAULT_PROXY).prefix)
            if IdentityWay.key in ways:
                _warn_of_shared_names(settings, ways)
        return cls(ways, tokens, proxy)

    def identify(self, credentials: Credentials) -> Identity | None:
        """Return the identity of a request; None where it shows none. Raises UnknownIdentity, and logs why."""
        try:
            if credentials.repeated is not None:
                raise UnknownIdentity("a header came several times", credentials.repeated)
            return self._identity(credentials)
        except UnknownIdentity as error:
            log_unknown(error)
            raise

    def _identity(self, credentials: Credentials) -> Identity | None:
        if IdentityWay.key in self.ways and credentials.key is not None:
            return Identity(key=credentials.key)
        if self._tokens is not None and credentials.token is not None:
            return Identity(account=self._tokens.account(credentials.token))
        if self._proxy is not None and credentials.account is not None:
            return Identity(account=self._proxy.account(credentials.account, credentials.secret))
        return Identity(account=ANONYMOUS_ACCOUNT) if IdentityWay.anonymous in self.ways else None


def _warn_of_shared_names(settings: IdentitySettings, ways: Collection[IdentityWay]) -> None:
    for way, prefix in zip((IdentityWay.jwt, IdentityWay.proxy), settings.prefixes, strict=True):
        if way in ways and not prefix:
            _log.warning("calpow: %s.prefix is empty: its names are accounts of API keys, too", way.value)


def log_unknown(error: UnknownIdentity) -> None:
    """Log, once a minute for each kind, why an identity is refused."""
    _refusals.warning(error.kind, error.detail or "the request gets 401")


def _token_verifier(settings: JwtSettings | None) -> TokenVerifier:
    if settings is None:
        raise GateMisconfigured(f"the identity jwt needs the settings `jwt` in the file that {PATH_VARIABLE} names")
    missing = "the identity jwt needs PyJWT: pip install 'PyJWT[crypto]>=2.10.1' (or 'calpow[jwt]'), on every node"
    if find_spec("jwt") is None or find_spec("cryptography") is None:
        raise GateMisconfigured(missing)
    try:
        from calpow.handler.identity.token_verifier import TokenVerifier
    except ImportError as error:  # another package of that name
        raise GateMisconfigured(missing) from error
    return TokenVerifier(settings)


API_KEYS = Identification((IdentityWay.key,))
