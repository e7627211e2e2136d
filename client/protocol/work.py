"""Doing what an Exchange asks for: the solver's errors become the client's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from calpow.client.errors import Cancelled, TimeLimitExceeded, UnsolvableInTime
from calpow.client.protocol.exchange import Exchange, Solve
from calpow.puzzle.errors import SolvingCancelled, SolvingTooLong
from calpow.puzzle.solving.solver import Progress, solve


def perform(
    exchange: Exchange,
    step: Solve,
    *,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Solve a step's puzzle, on all cores, and tell the exchange.

    Raises UnsolvableInTime, TimeLimitExceeded, Cancelled, or what `progress` raises.
    """
    began = time.monotonic()
    limit = min(step.seconds_left, step.lifetime)
    try:
        stamps = solve(step.puzzle, max_seconds=limit, progress=progress, cancel=cancel, date=step.date)
    except SolvingTooLong as error:
        if step.lifetime < step.seconds_left:
            raise UnsolvableInTime(error.expected_seconds, step.lifetime) from error
        raise TimeLimitExceeded(error.expected_seconds, step.max_seconds) from error
    except SolvingCancelled as error:
        raise Cancelled("cancelled before the work was done") from error
    exchange.solved(step, stamps, time.monotonic() - began)


def pause(seconds: float, cancel: threading.Event | None) -> None:
    """Wait. Raises Cancelled when `cancel` is set before the time is over."""
    if cancel is None:
        time.sleep(seconds)
    elif cancel.wait(seconds):
        raise Cancelled("cancelled while waiting for a busy server")
