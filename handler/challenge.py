"""Issue and verify signed challenges: HS256 JSON Web Tokens (RFC 7519, RFC 7515), signed and read here only.

Standard library, because a protected archive must run where nothing but TorchServe is installed.
"""

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from calpow.handler.ledger.base import Secret
from calpow.puzzle.algorithms import SCRYPT, ScryptCost
from calpow.puzzle.challenge import cost_fields, read_cost
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.puzzle import Puzzle

HEADER = {"alg": "HS256", "typ": "JWT"}
# A rotated secret is signed with after this long, without a question to the ledger for every request.
REFRESH_SECONDS = 10.0
# A forged token must not make every request read the secrets again.
RETRY_SECONDS = 1.0


class BadToken(PuzzleError):
    """A token that we did not sign, or that is none."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a challenge is bound to: names as in the token, where scrypt's cost is n, r and p beside them."""

    jti: str
    sub: str
    aud: str
    exp: int
    dig: str
    algorithm: str
    bits: int
    count: int
    cost: ScryptCost | None = None

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
        """The token of these claims, with the secrets as last read: it is called inside a ledger's transaction."""
        members = {name: getattr(claims, name) for name in _NAMES} | cost_fields(claims.cost)
        signing = f"{_HEADER}.{_encode(members)}"
        return f"{signing}.{_text(_mac(self._known[-1], signing))}"

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
        return Claims(**{name: members[name] for name in _NAMES}, cost=cost)
    except (Base64Error, ValueError, KeyError, TypeError, PuzzleError) as problem:
        raise BadToken("the token is of another version; solve a new challenge") from problem


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
_NAMES = ("jti", "sub", "aud", "exp", "dig", "algorithm", "bits", "count")
