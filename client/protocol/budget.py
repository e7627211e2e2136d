"""The limits of one request, and the budget that keeps it within them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from calpow.client.errors import TimeLimitExceeded, WorkLimitExceeded

# Enough for a client that is 30 times slower than the reference client (decision 0027).
DEFAULT_MAX_HASHES = 2**32
DEFAULT_MAX_SECONDS = 120.0
DEFAULT_MAX_WAIT = 30.0

# A model may be slow: of the round trip of a refused solution, at most this much counts against `max_seconds`.
MAX_SECONDS_PER_REFUSAL = 1.0
# A server that sends "Retry-After: 0" does not get requests in a tight loop, nor forever.
MIN_WAIT = 1.0
MAX_WAITS = 10


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The limits of one request.

    max_hashes: expected hashes of all its challenges and prepaid stamps.
    max_seconds: seconds of solving, and of round trips whose solution was refused, each counted as one at most.
    max_wait: seconds of waiting for a busy server.
    """

    max_hashes: int = DEFAULT_MAX_HASHES
    max_seconds: float = DEFAULT_MAX_SECONDS
    max_wait: float = DEFAULT_MAX_WAIT


@dataclass(slots=True)
class Budget:
    """The part of its limits that one request has spent.

    refusal: the reason for which its last solution was refused; empty if none was.
    worked_at: when its last work was done, by time.monotonic().
    """

    limits: RequestLimits
    hashes: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    waits: int = 0
    refusal: str = ""
    worked_at: float = field(default_factory=time.monotonic)

    def add_hashes(self, hashes: int) -> float:
        """Count expected hashes before they are computed, and return the seconds that are left for them.

        Raises WorkLimitExceeded or TimeLimitExceeded.
        """
        self.hashes += hashes
        if self.hashes > self.limits.max_hashes:
            raise WorkLimitExceeded(self.hashes, self.limits.max_hashes, self.refusal)
        seconds_left = self.limits.max_seconds - self.seconds
        if seconds_left <= 0:
            raise TimeLimitExceeded(self.seconds, self.limits.max_seconds, self.refusal)
        return seconds_left

    def add_seconds(self, seconds: float) -> None:
        """Count the seconds of work that was done."""
        self.seconds += seconds
        self.worked_at = time.monotonic()

    def add_refusal(self, reason: str) -> None:
        """Count the round trip of a solution that was refused, which began when the last work was done."""
        self.seconds += min(time.monotonic() - self.worked_at, MAX_SECONDS_PER_REFUSAL)
        self.refusal = reason

    def add_wait(self, retry_after: float) -> float | None:
        """Count a wait, and return its seconds; None if it would exceed `max_wait` or there were too many."""
        seconds = max(MIN_WAIT, retry_after)
        if self.waits >= MAX_WAITS or self.waited + seconds > self.limits.max_wait:
            return None
        self.waits += 1
        self.waited += seconds
        return seconds
