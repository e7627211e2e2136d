"""The protocol between a client and a server that asks for work, without any I/O.

An HTTP library's adapter shows an Exchange each response and does what it says: solve a puzzle, wait, send the request
again, or hand the response over. What cannot come to an answer is raised.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from calpow.client.errors import (
    ChallengeExpired,
    HeadersDropped,
    TimeLimitExceeded,
    UnusableKey,
    WorkLimitExceeded,
)
from calpow.client.prepaid.wallet import Purse
from calpow.client.protocol.reply import Reply
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.wire import KEY_HEADER, PREPAID, SOLUTION_HEADER, Challenge, format_prepaid, format_solution

DEFAULT_MAX_HASHES = 2**32
DEFAULT_MAX_SECONDS = 120.0
DEFAULT_MAX_WAIT = 30.0

# What a refused solution's round trip counts of `max_seconds` at most: a model may be slow.
MOST_SECONDS_A_REFUSAL = 1.0
# A server that says "Retry-After: 0" is not asked without pause, nor one without end.
LEAST_WAIT = 1.0
MAX_WAITS = 10

_BUSY = (429, 503)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost.

    max_hashes: expected hashes of all its challenges and prepaid stamps.
    max_seconds: seconds of solving, and of round trips whose solution was refused, each counted as one at most.
    max_wait: seconds of waiting for a busy server.
    """

    max_hashes: int = DEFAULT_MAX_HASHES
    max_seconds: float = DEFAULT_MAX_SECONDS
    max_wait: float = DEFAULT_MAX_WAIT


@dataclass(frozen=True, slots=True)
class Solve:
    """Find these stamps, tell `Exchange.solved`, and send the request (again).

    seconds_left: of what the user allows for one request, `max_seconds` in all.
    lifetime: seconds after which the stamps are of no use; infinite for what is paid beforehand.
    date: what the stamps bear.
    """

    puzzle: Puzzle
    seconds_left: float
    max_seconds: float
    lifetime: float
    date: datetime
    _header: str = field(repr=False)  # the beginning of PoW-Solution, which the stamps complete


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait so many seconds, and send the request again as it was."""

    seconds: float


class Payer:
    """What the requests of one PowAuth have in common: the key, the limits, and what is known of prices.

    Raises UnusableKey.
    """

    def __init__(self, key: str | None, limits: Limits) -> None:
        if key is not None and not _is_header_text(key):
            raise UnusableKey("the API key is empty or not plain printable ASCII: give it as it was handed out")
        self.key = key
        self.limits = limits
        self.purse = Purse(key or "", limits.max_hashes)


class Exchange:
    """One request, from its first sending to its answer; for one thread at a time.

    `start` says what to do before sending; then `receive` takes each response and says what to do before sending
    again, None when the response is the one to hand over. `headers` are what has to go with the next sending.
    """

    def __init__(self, payer: Payer, url: str) -> None:
        self._payer = payer
        self._url = url
        self._solution: str | None = None
        self._paid_at = time.monotonic()
        self._refusal = ""
        self._hashes = 0
        self._seconds = 0.0
        self._waited = 0.0
        self._waits = 0

    @property
    def headers(self) -> Mapping[str, str]:
        """Whose request it is, and what pays for it."""
        headers = {KEY_HEADER: self._payer.key, SOLUTION_HEADER: self._solution}
        return {name: value for name, value in headers.items() if value is not None}

    def start(self) -> Solve | None:
        """What to mint before sending, where the price is known."""
        prepayment = self._payer.purse.order(self._url)
        if prepayment is None:
            return None
        self._hashes = prepayment.stock_hashes
        header = format_prepaid(prepayment.stamps)
        if prepayment.puzzle is not None:
            return self._solve(prepayment.puzzle, math.inf, header)
        self._solution = header
        self._payer.purse.mint_meanwhile(self._url)
        return None

    def solved(self, step: Solve, stamps: list[str], seconds: float) -> None:
        """The stamps that were asked for, and how long they took."""
        self._seconds += seconds
        self._solution = format_solution(step._header, stamps)
        self._paid_at = time.monotonic()
        self._payer.purse.mint_meanwhile(self._url)

    def receive(self, reply: Reply) -> Solve | Wait | None:
        """What to do about a response; None is to hand it over.

        A 402 is solved and a 429 or 503 that says when is waited for; everything else is handed over.

        Raises ChallengeUnreadable, ChallengeExpired, WorkLimitExceeded, TimeLimitExceeded or HeadersDropped.
        """
        if reply.status == 402:
            return self._asked(reply)
        if reply.status == 401 and reply.problem == "identity-missing" and self._payer.key is not None:
            raise HeadersDropped(f"the API key did not arrive: something on the way drops the header {KEY_HEADER}")
        if reply.status in _BUSY and (wait := self._wait(reply)) is not None:
            return wait
        self._payer.purse.saw_answer(self._url, reply)
        return None

    def again(self, redirected: Exchange | None = None) -> Exchange:
        """A new exchange of the same request, paid with the same solution; what `redirected` took counts on."""
        anew = copy.copy(redirected or self)
        anew._solution = self._solution
        return anew

    def lose_solution(self) -> None:
        """Have it known that the request was redirected, and went on without the solution."""
        self._solution = None

    def _asked(self, reply: Reply) -> Solve | None:
        challenge = reply.challenge
        if challenge is None:
            if reply.problem is not None:
                raise HeadersDropped(
                    "a demand for work came without its challenge: something on the way changes the answers' bodies "
                    "and drops the header WWW-Authenticate"
                )
            return None
        if self._solution is not None:
            self._refused(reply)
        lifetime = self._lifetime(reply, challenge)
        prepaid = (self._solution or "").startswith(f"{PREPAID} ")
        self._payer.purse.saw_challenge(self._url, reply, challenge, prepaid=prepaid)
        return self._solve(challenge.puzzle, lifetime, challenge.token)

    def _refused(self, reply: Reply) -> None:
        """Count the round trip of a solution that was refused, or was too little."""
        if reply.problem == "pow-required":
            raise HeadersDropped(
                f"the server asks for work that was done: something on the way drops the header {SOLUTION_HEADER}"
            )
        self._seconds += min(time.monotonic() - self._paid_at, MOST_SECONDS_A_REFUSAL)
        self._refusal = reply.reason

    def _lifetime(self, reply: Reply, challenge: Challenge) -> float:
        now = reply.date
        seconds = (challenge.expires - (now or self._payer.purse.server_time(self._url))).total_seconds()
        if seconds <= 0:
            raise ChallengeExpired(-seconds, by_own_clock=now is None)
        return seconds

    def _solve(self, puzzle: Puzzle, lifetime: float, header: str) -> Solve:
        limits = self._payer.limits
        self._hashes += puzzle.expected_hashes
        if self._hashes > limits.max_hashes:
            raise WorkLimitExceeded(self._hashes, limits.max_hashes, self._refusal)
        left = limits.max_seconds - self._seconds
        if left <= 0:
            raise TimeLimitExceeded(self._seconds, limits.max_seconds, self._refusal)
        self._payer.purse.rest()
        return Solve(puzzle, left, limits.max_seconds, lifetime, self._payer.purse.server_time(self._url), header)

    def _wait(self, reply: Reply) -> Wait | None:
        asked = reply.retry_after(self._payer.purse.server_time(self._url))
        if asked is None:
            return None
        seconds = max(LEAST_WAIT, asked)
        if self._waits >= MAX_WAITS or self._waited + seconds > self._payer.limits.max_wait:
            return None
        self._waits += 1
        self._waited += seconds
        return Wait(seconds)


def _is_header_text(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and text == text.strip()
