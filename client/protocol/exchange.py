"""The protocol between a client and a server that asks for work, as generators that do no I/O themselves."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from calpow.client.caller import Caller
from calpow.client.errors import ChallengeExpired, HeadersDropped
from calpow.client.prepaid.wallet import Wallet
from calpow.client.protocol.budget import Budget
from calpow.client.reply import Reply
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER, Challenge, format_prepaid, format_solution

_BUSY = (429, 503)


@dataclass(frozen=True, slots=True)
class Solve:
    """Mint the stamps of a puzzle. The result is FoundStamps.

    seconds_left: what is left of `max_seconds`, which the user allows for one request.
    lifetime: seconds after which the stamps are of no use; infinite for prepaid stamps.
    date: the date that the stamps bear.
    refusal: the reason for which the last solution of the request was refused; empty if none was.
    """

    puzzle: Puzzle
    seconds_left: float
    max_seconds: float
    lifetime: float
    date: datetime
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a number of seconds. The result is None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request, for the first time or again, with these headers beside its own. The result is a Reply."""

    headers: Mapping[str, str] = field(repr=False)  # the key is one of them


@dataclass(frozen=True, slots=True)
class FoundStamps:
    """The stamps of a puzzle, in order, and the seconds that they took."""

    stamps: Sequence[str]
    seconds: float


# Each `send` passes the result of the action that was yielded last; the first one passes None.
Actions = Generator[Solve | Wait | Send, Any, None]


def next_action(actions: Actions, result: object = None) -> Solve | Wait | Send | None:
    """Send the result of the last action, None at first, and return the next action; None at the end."""
    try:
        return actions.send(result)
    except StopIteration:
        return None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to a server that may ask for work, from before its first sending to its last reply.

    Its methods are generators in the manner of httpx's `auth_flow`: they yield what the HTTP library's adapter has to
    do next, and are sent the result. They end when the last reply is the one that the caller gets.

    caller: whom the request is of.
    """

    caller: Caller = field(repr=False)
    url: str
    wallet: Wallet
    budget: Budget

    def run(self, solution: str | None = None) -> Actions:
        """Pay beforehand if the price is known, send the request, and go on as `proceed` does.

        solution: one that the request was sent with before; nothing else is paid beforehand then.
        """
        if solution is None:
            solution = yield from self._prepay()
        reply: Reply = yield Send(self._headers(solution))
        yield from self.proceed(reply)

    def proceed(self, reply: Reply) -> Actions:
        """Go on from a reply: solve challenges, wait for a busy server, and send the request again after each.

        Raises ChallengeUnreadable, ChallengeExpired, WorkLimitExceeded, TimeLimitExceeded or HeadersDropped.
        """
        while True:
            solution = reply.solution
            if (challenge := self._challenge_to_solve(reply)) is not None:
                lifetime = self._lifetime(reply, challenge)
                self.wallet.learn_from_challenge(self.url, reply, challenge)
                solution = yield from self._solve(challenge.puzzle, challenge.token, lifetime)
            elif (wait := self._wait(reply)) is not None:
                yield wait
            else:
                break
            reply = yield Send(self._headers(solution))
        self.wallet.learn_from_answer(self.url, reply)

    def again(self) -> Exchange:
        """Return an exchange for another sending of the same request, whose budget changes independently."""
        return replace(self, budget=copy.copy(self.budget))

    def _headers(self, solution: str | None) -> Mapping[str, str]:
        paid = {} if solution is None else {SOLUTION_HEADER: solution}
        return {**self.caller.headers(), **paid}

    def _prepay(self) -> Generator[Solve, FoundStamps, str | None]:
        """Return the solution to send with the first request, if its price is known."""
        prepayment = self.wallet.withdraw(self.url)
        if prepayment is None:
            return None
        self.budget.hashes += prepayment.stock_hashes
        header = format_prepaid(prepayment.stamps)
        if prepayment.puzzle is not None:
            return (yield from self._solve(prepayment.puzzle, header, math.inf))
        self.wallet.mint_in_background(self.url)
        return header

    def _solve(self, puzzle: Puzzle, header: str, lifetime: float) -> Generator[Solve, FoundStamps, str]:
        """Yield the work on a puzzle; return the solution, which is `header` followed by the stamps."""
        seconds_left = self.budget.add_hashes(puzzle.expected_hashes)
        self.wallet.stop_minting()
        date = self.wallet.server_time(self.url)
        limits, refusal = self.budget.limits, self.budget.refusal
        result = yield Solve(puzzle, seconds_left, limits.max_seconds, lifetime, date, refusal)
        self.budget.add_seconds(result.seconds)
        self.wallet.mint_in_background(self.url)
        return format_solution(header, result.stamps)

    def _challenge_to_solve(self, reply: Reply) -> Challenge | None:
        """Return the challenge of a reply, after counting it as a refusal if the request bore a solution."""
        header = self.caller.header
        if reply.status == 401 and reply.problem == "identity-missing" and header is not None:
            what = "the API key" if header == KEY_HEADER else "the token"
            raise HeadersDropped(
                f"{what} did not arrive: something on the way drops the header {header}, or the server takes none"
            )
        challenge = reply.challenge
        if challenge is None:
            if reply.status == 402 and reply.problem is not None:
                raise HeadersDropped(
                    "a demand for work came without its challenge: something on the way changes the answers' bodies "
                    "and drops the header WWW-Authenticate"
                )
            return None
        if reply.solution is not None:
            if reply.problem == "pow-required":
                raise HeadersDropped(
                    f"the server asks for work that was done: something on the way drops the header {SOLUTION_HEADER}"
                )
            self.budget.add_refusal(reply.reason)
        return challenge

    def _lifetime(self, reply: Reply, challenge: Challenge) -> float:
        """Return the seconds until a challenge expires, by the server's clock where that is known.

        See docs/decisions/0029.
        """
        date = reply.date
        seconds = (challenge.expires - (date or self.wallet.server_time(self.url))).total_seconds()
        if seconds <= 0:
            raise ChallengeExpired(-seconds, by_own_clock=date is None)
        return seconds

    def _wait(self, reply: Reply) -> Wait | None:
        if reply.status not in _BUSY:
            return None
        retry_after = reply.retry_after(self.wallet.server_time(self.url))
        seconds = None if retry_after is None else self.budget.add_wait(retry_after)
        return None if seconds is None else Wait(seconds)
