"""The protocol's headers and documents: a 402's challenge and its token, and the header PoW-Solution."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from calpow.puzzle.algorithms import SCRYPT, ScryptCost
from calpow.puzzle.errors import MalformedChallenge, MalformedSolution, PuzzleError, UnknownAlgorithm
from calpow.puzzle.puzzle import MAX_COUNT, Puzzle

SOLUTION_HEADER = "PoW-Solution"
NEXT_HEADER = "PoW-Next"
KEY_HEADER = "X-Api-Key"
IDENTITY_HEADER = "PoW-Identity"
ACCOUNT_HEADER = "PoW-Account"
PROXY_SECRET_HEADER = "PoW-Proxy-Secret"  # noqa: S105  # a header's name
SUBJECT_HEADER = "PoW-Subject"
PREPAID = "prepaid"
PROBLEM_TYPE = "application/problem+json"
# An entry of a gRPC request's input map, and its value: the prediction of the reply is a whole HTTP response. 0060.
REPLY_ENTRY = "PoW-Reply"
WHOLE_REPLY = "http"

MAX_TOKEN_LENGTH = 5120  # the token of a rest that names 64 prepaid stamps
MAX_SOLUTION_LENGTH = 8192  # TorchServe's own limit for a header

_LARGEST_NUMBER = 2**53  # the largest that every JSON reader keeps exact: RFC 8259, section 6
_LATEST_EXPIRY = 253_402_300_799  # the end of the year 9999
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # RFC 7515, compact serialisation
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
# RFC 9110, section 11.6.1: parts are separated by commas, and a scheme's name precedes its first parameter. A quoted
# string without an end is accepted: otherwise its end is searched again from every quote, for a minute in 60 KB.
_PART = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.?)*(?:"|\Z))+')
_PARAMETER = re.compile(
    r'(?:(?P<scheme>[^\s="]+)[ \t]+)?(?P<name>[^\s="]+)[ \t]*=[ \t]*(?P<value>"(?:[^"\\]|\\.)*"|[^\s"]+)'
)

_FieldType = TypeVar("_FieldType", str, int)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A puzzle that the server has signed; a solution of it is good once, until `expires`.

    `expires` is in UTC, in whole seconds on the wire. Raises MalformedChallenge if the token does not have the shape of
    a JWT, or if the time zone of `expires` is not UTC.
    """

    token: str
    puzzle: Puzzle
    expires: datetime

    def __post_init__(self) -> None:
        if len(self.token) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(self.token):
            raise MalformedChallenge("the challenge's token is not a JWT: ask for a new challenge")
        if self.expires.utcoffset() != timedelta(0):
            raise MalformedChallenge("the challenge's expiry is not in UTC: give it timezone.utc")

    def to_document(self) -> dict[str, object]:
        """Return the "challenge" member of a 402's body."""
        return {
            "token": self.token,
            "id": self.puzzle.resource,
            "algorithm": self.puzzle.algorithm,
            **cost_fields(self.puzzle.cost),
            "bits": self.puzzle.bits,
            "count": self.puzzle.count,
            "expires": self.expires.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "expected_hashes": self.puzzle.expected_hashes,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Challenge:
        """Parse the "challenge" member of a 402's body.

        The work is computed from bits and count; "expected_hashes" is ignored. Raises MalformedChallenge or
        UnknownAlgorithm.
        """
        puzzle = _puzzle(document, resource="id")
        return cls(_field(document, "token", str), puzzle, _parse_time(_field(document, "expires", str)))

    @classmethod
    def from_problem(cls, body: bytes | str) -> Challenge:
        """Parse the body of a 402, or its "challenge" member alone, as a user may have saved it.

        Raises MalformedChallenge or UnknownAlgorithm.
        """
        problem = _json_object(body, "a challenge")
        document = problem.get("challenge", problem)
        if not isinstance(document, Mapping):
            raise MalformedChallenge("the challenge is not a JSON object: ask for a new one")
        return cls.from_document(document)

    @classmethod
    def from_token(cls, token: str) -> Challenge:
        """Parse the claims of a token. Its signature is not verified: a client cannot, and need not.

        Raises MalformedChallenge or UnknownAlgorithm.
        """
        if len(token) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(token):
            raise MalformedChallenge("the challenge's token is not a JWT: ask for a new challenge")
        payload = token.split(".")[1]
        try:
            claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        except ValueError:
            raise MalformedChallenge("the token's claims are not base64url: ask for a new challenge") from None
        fields = _json_object(claims, "the token's claims")
        expires = _field(fields, "exp", int)
        if not 0 <= expires <= _LATEST_EXPIRY:
            raise MalformedChallenge("the token's 'exp' is no date: ask for a new challenge")
        puzzle = _puzzle(fields, resource="jti")
        return cls(token, puzzle, datetime.fromtimestamp(expires, timezone.utc))

    @classmethod
    def from_www_authenticate(cls, header: str) -> Challenge:
        """Parse the PoW challenge of a WWW-Authenticate header, which may list other schemes too.

        Raises MalformedChallenge or UnknownAlgorithm.
        """
        token = find_token(header)
        if token is None:
            raise MalformedChallenge("the WWW-Authenticate header holds no PoW challenge: nothing to solve")
        return cls.from_token(token)


@dataclass(frozen=True, slots=True)
class Solution:
    """A client's answer to a challenge, not verified yet: the challenge's token and the stamps."""

    token: str
    stamps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepaid:
    """Prepaid stamps as a client sends them, not verified yet."""

    stamps: tuple[str, ...]


def cost_fields(cost: ScryptCost | None) -> dict[str, int]:
    """Return the members "n", "r" and "p" of a document or token; none if there is no cost."""
    return {} if cost is None else asdict(cost)


def www_authenticate(realm: str, token: str) -> str:
    """Return the value of the WWW-Authenticate header of a 402 (RFC 9110, section 11.6.1).

    Raises MalformedChallenge if the realm is not printable ASCII.
    """
    if not (realm.isascii() and realm.isprintable()):
        raise MalformedChallenge(f"realm {realm[:40]!a} cannot stand in a header: use printable ASCII")
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'PoW realm="{quoted}", challenge="{token}"'


def find_token(www_authenticate: str) -> str | None:
    """Return the token of the PoW challenge in a WWW-Authenticate header, not parsed, or None."""
    return _find_parameter(www_authenticate, "challenge")


def find_realm(www_authenticate: str) -> str | None:
    """Return the realm of the PoW challenge in a WWW-Authenticate header, or None."""
    realm = _find_parameter(www_authenticate, "realm")
    return None if realm is None else re.sub(r"\\(.)", r"\1", realm)


def _find_parameter(www_authenticate: str, name: str) -> str | None:
    scheme = ""
    for part in _PART.findall(www_authenticate):
        match = _PARAMETER.fullmatch(part.strip())
        if match is None:
            scheme = part.split(maxsplit=1)[0] if part.strip() else scheme
            continue
        scheme = match["scheme"] or scheme
        if scheme.lower() == "pow" and match["name"].lower() == name:
            return match["value"].removeprefix('"').removesuffix('"')
    return None


def format_solution(token: str, stamps: Sequence[str]) -> str:
    """Return the value of the PoW-Solution header for the stamps of a challenge."""
    return " ".join((token, *stamps))


def format_prepaid(stamps: Sequence[str]) -> str:
    """Return the value of the PoW-Solution header for prepaid stamps."""
    return " ".join((PREPAID, *stamps))


def parse_solution(value: str) -> Solution | Prepaid:
    """Split the value of a PoW-Solution header. The stamps are not parsed: `Puzzle.verify` does that.

    Raises MalformedSolution.
    """
    if len(value) > MAX_SOLUTION_LENGTH:
        raise MalformedSolution(f"a solution of {len(value)} characters: at most {MAX_SOLUTION_LENGTH} are read")
    if not (value.isascii() and value.isprintable()):
        raise MalformedSolution("a solution is printable ASCII: TOKEN STAMP STAMP ...")
    first, *stamps = value.split() or [""]
    if first != PREPAID and (len(first) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(first)):
        raise MalformedSolution("a solution begins with the challenge's token: TOKEN STAMP STAMP ...")
    if not 1 <= len(stamps) <= MAX_COUNT:
        raise MalformedSolution(f"a solution of {len(stamps)} stamps: it must have 1 to {MAX_COUNT}")
    return Prepaid(tuple(stamps)) if first == PREPAID else Solution(first, tuple(stamps))


def _puzzle(fields: Mapping[str, object], *, resource: str) -> Puzzle:
    algorithm = _field(fields, "algorithm", str)
    try:
        return Puzzle(
            algorithm=algorithm,
            resource=_field(fields, resource, str),
            bits=_field(fields, "bits", int),
            count=_field(fields, "count", int),
            cost=read_cost(fields) if algorithm == SCRYPT else None,
        )
    except (MalformedChallenge, UnknownAlgorithm):
        raise
    except PuzzleError as error:
        raise MalformedChallenge(f"the challenge is absurd: {error}") from error


def read_cost(fields: Mapping[str, object]) -> ScryptCost:
    """Parse the cost of scrypt in a document or in the claims of a token. Raises MalformedChallenge or PuzzleError."""
    return ScryptCost(n=_field(fields, "n", int), r=_field(fields, "r", int), p=_field(fields, "p", int))


def _field(fields: Mapping[str, object], name: str, kind: type[_FieldType]) -> _FieldType:
    value = fields.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = "a string" if kind is str else "an integer"
        raise MalformedChallenge(f"the challenge's {name!r} is missing or not {wanted}: ask for a new challenge")
    if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        raise MalformedChallenge(f"the challenge's {name!r} is absurd: ask for a new challenge")
    return value


def _json_object(text: bytes | str, what: str) -> Mapping[str, object]:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise MalformedChallenge(f"{what} must be a JSON object: save the whole body of the 402")
    return value


def _parse_time(text: str) -> datetime:
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc)
    except ValueError:
        raise MalformedChallenge(
            "the challenge's 'expires' is not a time like 2026-01-15T12:05:00Z: ask for a new challenge"
        ) from None
