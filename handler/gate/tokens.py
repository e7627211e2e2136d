"""Tokens of challenges: JSON Web Tokens (RFC 7519, RFC 7515) with HS256 signatures.

Only the standard library is used, because a protected archive must run where nothing but TorchServe is installed.
Decision 0009.
"""

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from calpow.handler.errors import BadToken
from calpow.handler.ledger.holders import Secret
from calpow.puzzle.algorithms import SCRYPT, ScryptCost
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.wire import cost_fields, read_cost

HEADER = {"alg": "HS256", "typ": "JWT"}
# Workers read the secrets again after this time, so that a new secret comes into use without a ledger call for every
# request.
REFRESH_SECONDS = 10.0
# A token that no known secret signed makes a worker read the secrets again, but no more often than this.
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Rest:
    """Earlier work on which a challenge for a rest builds. Decision 0005.

    ids: ids that were presented and not spent; they are spent together with the rest.
    work: their work, in expected hashes.
    until: time after which no rest builds on these ids, in seconds since the epoch. The ledger remembers spent ids at
        least until then.
    withheld: name of the solution whose withheld answer the rest pays for; None for a rest of too little work.
    digest: digest of the request whose answer is withheld.
    """

    ids: tuple[str, ...]
    work: int
    until: int
    withheld: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """Contents of a token: registered claims (RFC 7519, section 4.1) and the parameters of the puzzle.

    `sub` is opaque: Signer.subject derives it from the account. In the token, `cost` becomes n, r and p, and the
    members of `rest` stand beside the others.
    """

    jti: str
    sub: str
    aud: str
    exp: int
    algorithm: str
    bits: int
    count: int
    cost: ScryptCost | None = None
    rest: Rest | None = None

    @property
    def puzzle(self) -> Puzzle:
        """The puzzle to solve. Raises PuzzleError when no puzzle can have these claims."""
        return Puzzle(self.algorithm, self.jti, self.bits, self.count, self.cost)


class Signer:
    """Signs tokens with the newest of the secrets, and accepts tokens that any of them signed."""

    def __init__(self, secrets: Callable[[], Sequence[Secret]], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = secrets
        self._clock = clock
        self._known: Sequence[Secret] = ()
        self._read_at = float("-inf")

    def sign(self, claims: Claims) -> str:
        """Return the token of these claims. Raises LedgerUnavailable."""
        members = (
            {name: getattr(claims, name) for name in _NAMES} | cost_fields(claims.cost) | _rest_fields(claims.rest)
        )
        signing = f"{_HEADER}.{_encode(members)}"
        return f"{signing}.{_text(_mac(self._secrets(REFRESH_SECONDS)[-1], signing))}"

    def subject(self, account: str) -> str:
        """Return the opaque name of an account in tokens signed now. Raises LedgerUnavailable."""
        return _subject(self._secrets(REFRESH_SECONDS)[-1], account)

    def subjects(self, account: str) -> tuple[str, ...]:
        """Return the opaque names of an account by all secrets, the newest last. Raises LedgerUnavailable."""
        return tuple(_subject(secret, account) for secret in self._secrets(REFRESH_SECONDS))

    def is_subject(self, subject: str, account: str) -> bool:
        """Return whether a token's subject names this account, by any of the secrets. Raises LedgerUnavailable."""
        known = self._secrets(REFRESH_SECONDS)
        given = subject.encode("utf-8", "surrogatepass")
        return any(hmac.compare_digest(_subject(secret, account).encode("ascii"), given) for secret in known)

    def verify(self, token: str) -> Claims:
        """Return the claims of a token that this deployment signed. Its expiry is not checked.

        Raises BadToken or LedgerUnavailable.
        """
        signing, _, signature = token.rpartition(".")
        try:
            given = _bytes(signature)
        except (Base64Error, ValueError) as error:
            raise BadToken("the token is cut short or altered; solve a new challenge") from error
        # Base64 has several spellings of the same bytes, of which only the one that was signed is accepted.
        if _text(given) != signature or not (
            self._signed(signing, given, REFRESH_SECONDS) or self._signed(signing, given, RETRY_SECONDS)
        ):
            raise BadToken("the token was not signed here; solve a new challenge")
        return _claims(signing)

    def _signed(self, signing: str, given: bytes, max_age: float) -> bool:
        return any(hmac.compare_digest(_mac(secret, signing), given) for secret in self._secrets(max_age))

    def _secrets(self, max_age: float) -> Sequence[Secret]:
        now = self._clock()
        if now - self._read_at >= max_age:
            self._known, self._read_at = self._read(), now
        return self._known


def _claims(signing: str) -> Claims:
    header, _, payload = signing.partition(".")
    if header != _HEADER:
        raise BadToken("the token is of another kind; solve a new challenge")
    try:
        members = json.loads(_bytes(payload))
        cost = read_cost(members) if members["algorithm"] == SCRYPT else None
        return Claims(**{name: members[name] for name in _NAMES}, cost=cost, rest=_read_rest(members))
    except (Base64Error, ValueError, KeyError, TypeError, PuzzleError) as error:
        raise BadToken("the token is of another version; solve a new challenge") from error


def _rest_fields(rest: Rest | None) -> dict[str, object]:
    if rest is None:
        return {}
    members = {"ids": rest.ids, "work": rest.work, "until": rest.until, "withheld": rest.withheld, "dig": rest.digest}
    return {name: value for name, value in members.items() if value is not None}


def _read_rest(members: Mapping[str, Any]) -> Rest | None:
    if "ids" not in members:
        if "dig" in members:
            raise BadToken("the token is of another version; solve a new challenge")
        return None
    return Rest(tuple(members["ids"]), members["work"], members["until"], members.get("withheld"), members.get("dig"))


@lru_cache(maxsize=4096)
def _subject(secret: Secret, account: str) -> str:
    # The prefix separates subjects from tokens, which hold no colon.
    return _text(hmac.digest(secret.value, b"subject:" + account.encode("utf-8"), sha256)[:16])


def _mac(secret: Secret, signing: str) -> bytes:
    return hmac.digest(secret.value, signing.encode("utf-8", "surrogatepass"), sha256)


def _encode(members: object) -> str:
    return _text(_ENCODER.encode(members).encode())


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))


# json.dumps would make one for every token.
_ENCODER = json.JSONEncoder(separators=(",", ":"))
# Encoded once, since it is signed and compared as text for every request.
_HEADER = _encode(HEADER)
_NAMES = ("jti", "sub", "aud", "exp", "algorithm", "bits", "count")
