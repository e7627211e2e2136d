"""The part of PowAuth that is the same for every HTTP library."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from calpow.client.caller import Caller
from calpow.client.errors import (
    Cancelled,
    ClientError,
    TimeLimitExceeded,
    UnsolvableInTime,
    UnusableKey,
    as_library_error,
)
from calpow.client.prepaid.wallet import Wallet
from calpow.client.protocol.budget import (
    DEFAULT_MAX_HASHES,
    DEFAULT_MAX_SECONDS,
    DEFAULT_MAX_WAIT,
    Budget,
    RequestLimits,
)
from calpow.client.protocol.exchange import Actions, Exchange, FoundStamps, Send, Solve, Wait, next_action
from calpow.client.reply import Reply
from calpow.puzzle.errors import SolvingCancelled, SolvingTooLong
from calpow.puzzle.solving.solver import Progress, solve


class BasePowAuth:
    """Base of the PowAuth of each HTTP library: its arguments, and the work between two sendings."""

    _library_error: ClassVar[type[Exception]]

    def __init__(
        self,
        key: str | None = None,
        *,
        token: str | Callable[[], str] | None = None,
        max_hashes: int = DEFAULT_MAX_HASHES,
        max_seconds: float = DEFAULT_MAX_SECONDS,
        max_wait: float = DEFAULT_MAX_WAIT,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        try:
            self._caller = Caller(key, token)
        except UnusableKey as error:
            raise self._as_library_error(error) from None
        self._limits = RequestLimits(max_hashes, max_seconds, max_wait)
        self._wallet = Wallet(key, max_hashes)
        self._progress = progress
        self._cancel: threading.Event | None = None

    def _exchange(self, url: str) -> Exchange:
        return Exchange(self._caller, url, self._wallet, Budget(self._limits))

    def _next_send(self, actions: Actions, reply: Reply | None = None) -> Send | None:
        """Do the work and the waiting up to the next sending; return None if the reply is the last one.

        reply: the result of the last sending; None for actions that have not begun.
        """
        action = next_action(actions, reply)
        while isinstance(action, Solve | Wait):
            action = next_action(actions, perform(action, self._progress, self._cancel))
        return action

    def _as_library_error(self, error: ClientError, request: object = None, response: object = None) -> ClientError:
        return as_library_error(error, self._library_error, request=request, response=response)


class AsyncPowAuth(BasePowAuth, ABC):
    """BasePowAuth for an event loop, off which the work is done."""

    async def _next_send_async(self, actions: Actions, reply: Reply | None = None) -> Send | None:
        """Do as `_next_send` does."""
        action = next_action(actions, reply)
        while isinstance(action, Solve | Wait):
            action = next_action(actions, await self._perform_async(action))
        return action

    @abstractmethod
    async def _perform_async(self, action: Solve | Wait) -> FoundStamps | None:
        """Solve a puzzle in a thread, or wait; return the result of the action. It ends when the task is cancelled."""


def perform(
    action: Solve | Wait,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> FoundStamps | None:
    """Solve a puzzle, on all cores, or wait; return the result of the action.

    Raises UnsolvableInTime, TimeLimitExceeded, Cancelled, or what `progress` raises.
    """
    if isinstance(action, Solve):
        return _solve(action, progress, cancel)
    _wait(action.seconds, cancel)
    return None


def _solve(action: Solve, progress: Callable[[Progress], None] | None, cancel: threading.Event | None) -> FoundStamps:
    began = time.monotonic()
    limit = min(action.seconds_left, action.lifetime)
    try:
        stamps = solve(action.puzzle, max_seconds=limit, progress=progress, cancel=cancel, date=action.date)
    except SolvingTooLong as error:
        if action.lifetime < action.seconds_left:
            raise UnsolvableInTime(error.expected_seconds, action.lifetime) from error
        expected_seconds = action.max_seconds - action.seconds_left + error.expected_seconds
        raise TimeLimitExceeded(expected_seconds, action.max_seconds, action.refusal) from error
    except SolvingCancelled as error:
        raise Cancelled("cancelled before the work was done") from error
    return FoundStamps(stamps, time.monotonic() - began)


def _wait(seconds: float, cancel: threading.Event | None) -> None:
    if cancel is None:
        time.sleep(seconds)
    elif cancel.wait(seconds):
        raise Cancelled("cancelled while waiting for a busy server")
