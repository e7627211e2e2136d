"""Issue and verify signed challenges: HS256 JSON Web Tokens (RFC 7519, RFC 7515), signed and read here only.

Standard library, because a protected archive must run where nothing but TorchServe is installed.
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

from calpow.handler.ledger.ledger import Secret
from calpow.puzzle.algorithms import SCRYPT, ScryptCost
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.wire import cost_fields, read_cost

HEADER = {"alg": "HS256", "typ": "JWT"}
# A rotated secret is signed with after this long, without a question to the ledger for every request.
REFRESH_SECONDS = 10.0
# A forged token must not make every request read the secrets again.
RETRY_SECONDS = 1.0


class BadToken(PuzzleError):
    """A token that we did not sign, or that is none."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Earlier work that a challenge for a rest builds on.

    ids: what was presented and is not spent yet; it is spent together with the rest. work: of these ids, in expected
    hashes. until: after which no rest builds on these ids, in seconds since the epoch: as long a ledger remembers that
    they are spent. withheld: name of the solution whose withheld answer the rest pays for, None for a rest of too
    little work. digest: of the request whose answer is withheld.
    """

    ids: tuple[str, ...]
    work: int
    until: int
    withheld: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """Contents of a token: names as in JSON Web Tokens (RFC 7519), and the puzzle's.

    `sub` is opaque: Signer.subject makes it of the account. In the token scrypt's cost is n, r and p, and a rest's
    members stand beside the others.
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
        """What is to be solved. Raises PuzzleError where no puzzle can have these claims."""
        return Puzzle(self.algorithm, self.jti, self.bits, self.count, self.cost)


class Signer:
    """Signs with the newest of the secrets, accepts any of them; reads them again when they may have changed."""

    def __init__(self, secrets: Callable[[], Sequence[Secret]], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = secrets
        self._clock = clock
        self._known: Sequence[Secret] = ()
        self._read_at = float("-inf")

    def refresh(self) -> None:
        """Read the secrets, unless that was a moment ago. Raises LedgerUnavailable."""
        self._secrets(REFRESH_SECONDS)

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

    def is_subject(self, subject: str, account: str) -> bool:
        """Whether a token's subject, signed with any of the secrets, is this account. Raises LedgerUnavailable."""
        known = self._secrets(REFRESH_SECONDS)
        given = subject.encode("utf-8", "surrogatepass")
        return any(hmac.compare_digest(_subject(secret, account).encode("ascii"), given) for secret in known)

    def verify(self, token: str) -> Claims:
        """The claims of a token that we signed; its expiry is not looked at. Raises BadToken."""
        signing, _, signature = token.rpartition(".")
        try:
            given = _bytes(signature)
        except (Base64Error, ValueError) as problem:
            raise BadToken("the token is cut short or altered; solve a new challenge") from problem
        # Base64 has spellings that differ in bits nobody reads: only the one we wrote counts.
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
    except (Base64Error, ValueError, KeyError, TypeError, PuzzleError) as problem:
        raise BadToken("the token is of another version; solve a new challenge") from problem


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
    # A domain of its own: no token can be taken for a subject.
    return _text(hmac.digest(secret.value, b"subject:" + account.encode("utf-8"), sha256)[:16])


def _mac(secret: Secret, signing: str) -> bytes:
    return hmac.digest(secret.value, signing.encode("utf-8", "surrogatepass"), sha256)


def _encode(members: object) -> str:
    return _text(json.dumps(members, separators=(",", ":")).encode())


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))


# Signed and compared as text, for every request.
_HEADER = _encode(HEADER)
_NAMES = ("jti", "sub", "aud", "exp", "algorithm", "bits", "count")
