"""Verification of JSON Web Tokens (RFC 7519) with PyJWT. Imported for the way `jwt` only."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jwt

from calpow.handler.errors import UnknownIdentity
from calpow.handler.identity.account_name import account_name
from calpow.handler.identity.identity_settings import JwtSettings
from calpow.handler.identity.key_set import KeySet, read_key_set
from calpow.handler.identity.recent_tokens import RecentTokens
from calpow.handler.identity.watched_file import WatchedFile

MOST_CHARACTERS = 8192  # TorchServe's own limit for a header
_REMEMBERED_ACCEPTED = 4096
# Apart from the others, so that a flood of forged tokens does not make a worker verify honest ones again.
_REMEMBERED_REJECTED = 1024
_LONGEST_QUOTE = 40


class Accepted(NamedTuple):
    """Verdict on a token that was signed for this deployment: its account, and when it is valid.

    Times are in seconds since the epoch; `starts` is included, `ends` is not.
    """

    account: str
    starts: float
    ends: float


class Rejected(NamedTuple):
    """Verdict on a token that no time makes valid: the members of UnknownIdentity."""

    kind: str
    detail: str = ""


class TokenVerifier:
    """Tells the accounts of tokens, by the keys of a JWKS file that may change meanwhile.

    The signature of a token is verified once while the keys stay the same and the token is among the last thousands.
    """

    def __init__(self, settings: JwtSettings, clock: Callable[[], float] = time.time) -> None:
        """Raise GateMisconfigured when the keys cannot be read."""
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._file = WatchedFile(Path(settings.jwks), partial(read_key_set, algorithms=settings.algorithms))
        self._keys = self._file.value()
        self._accepted: RecentTokens[Accepted] = RecentTokens(_REMEMBERED_ACCEPTED)
        self._rejected: RecentTokens[Rejected] = RecentTokens(_REMEMBERED_REJECTED)

    def account(self, token: str) -> str:
        """Return the name of the account of a token. Raises UnknownIdentity."""
        if len(token) > MOST_CHARACTERS:
            raise UnknownIdentity("a token is too long", f"{len(token)} characters")
        with self._lock:
            verdict = self._verdict(token)
        if isinstance(verdict, Rejected):
            raise UnknownIdentity(*verdict)
        now, leeway = self._clock(), self._settings.leeway_seconds
        if now < verdict.starts - leeway:
            raise UnknownIdentity("a token is not valid yet", f"for another {verdict.starts - now:.0f} s")
        if now >= verdict.ends + leeway:
            raise UnknownIdentity("a token has expired", f"{now - verdict.ends:.0f} s ago")
        return verdict.account

    def _verdict(self, token: str) -> Accepted | Rejected:
        keys = self._file.value()
        if keys is not self._keys:
            self._keys = keys
            self._accepted.clear()
            self._rejected.clear()
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._accepted.find(digest) or self._rejected.find(digest)
        if known is not None:
            return known
        verdict = _verified(token, keys, self._settings)
        if isinstance(verdict, Accepted):
            self._accepted.keep(digest, verdict)
        else:
            self._rejected.keep(digest, verdict)
        return verdict


def _verified(token: str, keys: KeySet, settings: JwtSettings) -> Accepted | Rejected:
    """Verify a token, but for the time. Of the library's errors, which may quote it, only the class is kept."""
    try:
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in settings.algorithms:
            return Rejected("a token's algorithm is not allowed", _quoted(algorithm))
        if "crit" in header:
            return Rejected("a token has an extension that is not known here", "crit")
        key = keys.find(key_id, algorithm)
        if key is None:
            return Rejected("a token's key is not in the JWKS file", _quoted(key_id))
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=settings.audience,
            # A list: PyJWT 2.10.0 accepts any part of an issuer that is given as text (CVE-2024-53861).
            issuer=[settings.issuer],
            # Times are compared at every use, also of a token that was verified before.
            options={
                "require": ["exp", "iss", "aud"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        return _accepted(claims, settings)
    except UnknownIdentity as error:
        return Rejected(error.kind, error.detail)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        return Rejected("a token is not valid", type(error).__name__)


def _accepted(claims: Mapping[str, Any], settings: JwtSettings) -> Accepted:
    """Return the verdict on a token with these claims, whose signature is right. Raises UnknownIdentity."""
    tenant = None if settings.tenant_claim is None else _text(claims, settings.tenant_claim)
    account = account_name(settings.prefix, tenant, _text(claims, settings.account_claim))
    starts = max(_time(claims, "nbf", -math.inf), _time(claims, "iat", -math.inf))
    return Accepted(account, starts, _time(claims, "exp", -math.inf))


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise UnknownIdentity("a token lacks a claim", name)
    return value


def _time(claims: Mapping[str, Any], name: str, default: float) -> float:
    """Return a time of a token, a NumericDate (RFC 7519, section 2). Raises UnknownIdentity."""
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # NaN
        raise UnknownIdentity("a token's time is no number", name)
    # An integer may be larger than any float.
    return float(max(-1e15, min(1e15, value)))


def _quoted(text: object) -> str:
    """Return the beginning of what a client sent, harmless in a log."""
    return ascii(text)[:_LONGEST_QUOTE]
