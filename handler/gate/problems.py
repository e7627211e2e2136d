"""Problem documents (RFC 9457) for every refusal of the gate: their types, statuses and public texts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate

from calpow.handler.identity.ways import IdentityWay
from calpow.puzzle.counting import counted
from calpow.puzzle.wire import IDENTITY_HEADER, KEY_HEADER, Challenge, www_authenticate

URN = "urn:calpow:problem:"


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal as the client sees it.

    It states neither what a query cost nor what an account has spent.
    """

    type: str
    status: int
    title: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    challenge: Challenge | None = None

    def document(self) -> dict[str, object]:
        """Return the members of the problem document (RFC 9457, section 3)."""
        members: dict[str, object] = {
            "type": URN + self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.challenge is not None:
            members["challenge"] = self.challenge.to_document()
        return members

    def body(self, **extensions: object) -> str:
        """Return the document as JSON, followed by extension members."""
        return json.dumps({**self.document(), **extensions})


IDENTITY_UNKNOWN = Problem(
    "identity-unknown",
    401,
    "Unknown identity",
    "This key or token is not known here, has expired or was revoked; ask for another.",
)
_WANTED = {
    IdentityWay.key: f"an API key in the header {KEY_HEADER}",
    IdentityWay.jwt: f"a token of your identity provider in the header {IDENTITY_HEADER}",
    IdentityWay.proxy: "the request through the operator's proxy, signed in",
}
ACCOUNT_BLOCKED = Problem(
    "account-blocked", 403, "Account blocked", "The operator has blocked this account: ask him for the reason."
)
BUDGET_EXHAUSTED = Problem(
    "budget-exhausted",
    403,
    "Budget exhausted",
    "The request holds more samples than the operator's budget leaves this account, in all or for today (UTC).",
)
PROBE_ONLY = Problem(
    "probe-only", 403, "Probe key", "This key gets the answer to the payload that it was made for, and nothing else."
)
LEDGER_UNAVAILABLE = Problem(
    "ledger-unavailable",
    503,
    "Accounts unavailable",
    "The account store cannot be reached, so nothing is answered; nothing was lost. Try again shortly.",
    {"Retry-After": "5"},
)
PRICING_UNAVAILABLE = Problem(
    "pricing-unavailable",
    503,
    "Pricing unavailable",
    "The server has no resources left to look at this query. Try again shortly.",
    {"Retry-After": "5"},
)

# These are sent with a challenge.
MALFORMED_SOLUTION = Problem(
    "malformed-solution", 402, "Malformed solution", "Send 'PoW-Solution: TOKEN STAMP STAMP ...' of one challenge."
)
INVALID_SOLUTION = Problem("invalid-solution", 402, "Wrong work", "The stamps do not solve their challenge.")
CHALLENGE_EXPIRED = Problem(
    "challenge-expired",
    402,
    "Challenge expired",
    "The challenge had expired when its solution came.",
)
CHALLENGE_SPENT = Problem(
    "challenge-spent",
    402,
    "Solution spent",
    "This solution has been used: one solution, one answer.",
)
CHALLENGE_MISMATCH = Problem(
    "challenge-mismatch",
    402,
    "Challenge of something else",
    "The challenge was issued for another account, model or, where it asks for a rest, request.",
)
MORE_REQUIRED = Problem(
    "more-required",
    402,
    "More work required",
    "The work that came is not enough and is not lost: do the rest of it, and send the same request again.",
)
POW_REQUIRED = Problem("pow-required", 402, "Proof of work required", "")


def identity_missing(ways: Sequence[IdentityWay]) -> Problem:
    """Return the problem of a request that shows no identity in any of the ways that are allowed."""
    wanted = ", or ".join(_WANTED[way] for way in ways if way in _WANTED)
    return Problem("identity-missing", 401, "No identity", f"Send {wanted}; the operator gives out accounts.")


def bad_payload(reason: str) -> Problem:
    """Return the problem of a payload that the victim cannot read. Its work stays good for another request."""
    return Problem("bad-payload", 400, "Unreadable payload", f"{reason[:1].upper()}{reason[1:]}.")


def too_many_samples(most: int) -> Problem:
    """Return the problem of a request with more than `most` samples, which is what the owner allows."""
    return Problem("too-large", 413, "Too many samples", f"A request may hold {most:,} samples: divide it.")


def too_many_bytes(most: int) -> Problem:
    """Return the problem of a request with more than `most` bytes, which is what the owner allows."""
    return Problem("too-large", 413, "Too many bytes", f"A request may hold {most:,} bytes: send less at once.")


def too_many_pixels(most: int) -> Problem:
    """Return the problem of a request whose images have more than `most` pixels, which is what the owner allows."""
    return Problem(
        "too-large", 413, "Too many pixels", f"The images of a request may have {most:,} pixels together: shrink them."
    )


def too_large(samples: int) -> Problem:
    """Return the problem of a request that needs more work than one challenge may ask for.

    `samples` is how many samples one challenge can pay for, or 0.
    """
    if not samples:
        return ANSWER_TOO_LARGE
    return Problem(
        "too-large",
        413,
        "Too much work",
        f"At this account's price, one challenge asks for at most {samples:,} samples: divide the request.",
    )


def rest_too_large(samples: int) -> Problem:
    """Return the problem of a withheld answer whose rest is more than one challenge may ask for.

    `samples` is how many samples one challenge can pay for now, at least 1.
    """
    return Problem(
        "too-large",
        413,
        "Answer too dear",
        "The answer takes more work than one challenge may ask for, and is withheld. At this account's price, one"
        f" challenge asks for at most {samples:,} samples: divide the request.",
    )


ANSWER_TOO_LARGE = Problem(
    "too-large",
    413,
    "Answer too dear",
    "This answer takes more work than one challenge may ask for. Ask for less at once: fewer samples, a prediction.",
)
EXPLANATION_REFUSED = Problem(
    "explanation-refused", 403, "No explanations", "This model gives predictions only: ask for a prediction."
)


def with_challenge(problem: Problem, challenge: Challenge, realm: str, seconds: float, now: float) -> Problem:
    """Return `problem` with a challenge that takes the reference client `seconds` to solve.

    `now`, in seconds since the epoch, becomes the Date header (RFC 9110, section 6.6.1), from which a client whose
    clock is wrong learns how long the challenge stays open. Decision 0029.
    """
    puzzle = challenge.puzzle
    memory = "" if puzzle.cost is None else f" by scrypt, {puzzle.cost.memory >> 10:,} KiB a digest"
    stamps, bits = counted(puzzle.count, "stamp"), counted(puzzle.bits, "bit")
    ask = f"Find {stamps} of {bits}{memory}; about {_readable(seconds)} on the reference client."
    return replace(
        problem,
        detail=f"{problem.detail} {ask}".strip(),
        headers={
            **problem.headers,
            "Date": formatdate(now, usegmt=True),
            "WWW-Authenticate": www_authenticate(realm, challenge.token),
        },
        challenge=challenge,
    )


def _readable(seconds: float) -> str:
    # The bounds are those from which on two digits would be rounded up to a power of ten in scientific notation.
    if seconds < 0.0995:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.2g} s" if seconds < 99.5 else f"{seconds:,.0f} s"
