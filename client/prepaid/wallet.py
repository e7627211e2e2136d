"""Paying before being asked: what a server said its next answer takes, and stamps minted for it.

This saves the round trip of the challenge. Stamps are good for any payload, so that they can be minted while the
client is idle.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from weakref import WeakSet

from calpow.client.prepaid.background import Minter
from calpow.client.prepaid.stamps import Batch, Prepayment, Work
from calpow.client.protocol.reply import Reply
from calpow.puzzle.difficulty import LEAST_STAMPS
from calpow.puzzle.errors import SolvingCancelled, SolvingTooLong
from calpow.puzzle.prepaid import FRESH_SECONDS, prepaid_resource
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge

# A first request for a URL may be the only one: nothing is minted for it.
IDLE_FROM_REQUEST = 2
IDLE_SECONDS = 5.0
# Stamps are thrown away so long before the server would refuse them.
MARGIN_SECONDS = 60

# What is minted at once while idle: so little that an order to stop loses nothing, and not less than is worth a call.
_PORTION_HASHES = 1 << 14
_MOST_URLS = 256


@dataclass(frozen=True, slots=True)
class _Account:
    """What is known of one URL.

    clock: the server's, in seconds ahead of time.monotonic(); None while it has sent no Date.
    refuses: whether it refused stamps for a reason that would hold for new ones, too.
    too_heavy: the least price whose stamps took too long to mint while idle.
    """

    work: Work
    clock: float | None = None
    next_hashes: int = 0
    requests: int = 1
    refuses: bool = False
    too_heavy: int = 1 << 63
    stock: tuple[Batch, ...] = field(default=(), repr=False)

    def in_stock(self) -> tuple[Batch, ...]:
        now = time.monotonic()
        return tuple(each for each in self.stock if each.stale_at > now)


class Purse:
    """The stamps and prices of the URLs that one PowAuth has asked; shared by its threads.

    While a URL that was asked more than once has an answer to give or nothing to do, stamps for the next request
    are minted in a thread, on one core and for no longer than IDLE_SECONDS. Prices beyond `max_hashes` are not paid
    beforehand.
    """

    def __init__(self, key: str, max_hashes: int) -> None:
        self._key = key
        self._max_hashes = max_hashes
        self._minter = Minter()
        self.renew()
        _all.add(self)

    def renew(self) -> None:
        """For a fork's child: the parent spends what it has minted, and may have held the lock."""
        self._lock = threading.Lock()
        self._known: dict[str, _Account] = {
            url: replace(account, stock=()) for url, account in getattr(self, "_known", {}).items()
        }

    def order(self, url: str) -> Prepayment | None:
        """Take the stock for the next request, and say what is to be minted beside it. None to wait for a challenge.

        None also where whole stamps would be more work than `max_hashes`, and the challenge may not be.
        """
        self._minter.stop()
        with self._lock:
            account = self._known.get(_path(url))
            if account is None:
                return None
            account = self._put(url, replace(account, requests=account.requests + 1))
            if not self._prepays(account):
                return None
            prepayment = _prepayment(account)
            if not account.next_hashes <= prepayment.hashes <= self._max_hashes:
                return None
            self._put(url, replace(account, stock=()))
        return prepayment

    def mint_meanwhile(self, url: str) -> None:
        """Fill the stock for the announced price, in the background."""
        account = self._account(url)
        if account is None or not self._prepays(account) or account.requests < IDLE_FROM_REQUEST:
            return
        if account.next_hashes < account.too_heavy and _missing(account) is not None:
            self._minter.begin(_path(url), lambda stop: self._fill(url, stop))

    def rest(self) -> None:
        """Leave the machine to work that somebody waits for."""
        self._minter.stop()

    def server_time(self, url: str) -> datetime:
        """Now, by the clock of the server if it has shown it."""
        account = self._account(url)
        if account is None or account.clock is None:
            return datetime.now(timezone.utc)
        return datetime.fromtimestamp(account.clock + time.monotonic(), timezone.utc)

    def saw_challenge(self, url: str, reply: Reply, challenge: Challenge, *, prepaid: bool) -> None:
        """Learn from a 402; `prepaid` says that it answers a request with prepaid stamps."""
        realm = reply.realm
        if realm is None:
            return
        work = _work(realm, self._key, challenge.puzzle)
        with self._lock:
            account = self._known.get(_path(url)) or _Account(work)
            if account.work.is_as_good_as(work):
                # The rest's challenge may have fewer stamps than the server reads.
                account = replace(account, work=replace(work, most=max(work.most, account.work.most)))
            else:
                account = replace(account, work=work, stock=(), refuses=False)
            if prepaid and reply.problem not in ("more-required", "challenge-spent"):
                # The stock is refused too: it has the same resource, and the date of the same clock. A clock that the
                # server does not show is not to be set right.
                refuses = reply.problem != "challenge-expired" or reply.date is None
                account = replace(account, stock=(), refuses=refuses)
            self._put(url, _told_the_time(account, reply))

    def saw_answer(self, url: str, reply: Reply) -> None:
        """Learn from an answer what the next one takes."""
        announced = reply.next_hashes
        with self._lock:
            account = self._known.get(_path(url))
            if account is None or announced is None:
                return
            self._put(url, _told_the_time(replace(account, next_hashes=announced), reply))
        self.mint_meanwhile(url)

    def _fill(self, url: str, stop: threading.Event) -> None:
        deadline = time.monotonic() + IDLE_SECONDS
        while (account := self._account(url)) is not None and (missing := _missing(account)) is not None:
            portion = replace(missing, count=min(missing.count, max(1, _PORTION_HASHES >> missing.bits)))
            began = time.monotonic()
            date = self.server_time(url)
            try:
                stamps = solve(portion, workers=1, cancel=stop, max_seconds=deadline - began, date=date)
            except SolvingTooLong:
                self._change(url, lambda account: replace(account, too_heavy=account.next_hashes))
                return
            except SolvingCancelled:
                return
            minted = Batch(tuple(stamps), portion.expected_hashes, began + FRESH_SECONDS - MARGIN_SECONDS)
            self._change(url, partial(_stocked, work=account.work, minted=minted))

    def _prepays(self, account: _Account) -> bool:
        return 0 < account.next_hashes <= self._max_hashes and not account.refuses

    def _account(self, url: str) -> _Account | None:
        with self._lock:
            return self._known.get(_path(url))

    def _change(self, url: str, change: Callable[[_Account], _Account]) -> None:
        with self._lock:
            account = self._known.get(_path(url))
            if account is not None:
                self._known[_path(url)] = change(account)

    def _put(self, url: str, account: _Account) -> _Account:
        self._known.pop(_path(url), None)  # the latest stand last
        self._known[_path(url)] = account
        if len(self._known) > _MOST_URLS:
            self._known.pop(next(iter(self._known)))
        return account


def _prepayment(account: _Account) -> Prepayment:
    """What makes up the announced price: the stock and what it lacks, or new stamps only where there is no room."""
    held = Prepayment(account.in_stock(), None)
    if account.next_hashes <= held.stock_hashes:
        return held
    puzzle = _missing(account)
    if puzzle is not None:
        return replace(held, puzzle=puzzle)
    return Prepayment((), account.work.puzzle(account.next_hashes, account.work.most))


def _missing(account: _Account) -> Puzzle | None:
    """The stamps that the stock lacks of the announced price; None if it lacks none, or has no room for them."""
    held = Prepayment(account.in_stock(), None)
    missing = account.next_hashes - held.stock_hashes
    return account.work.puzzle(missing, account.work.most - len(held.stamps)) if missing > 0 else None


def _stocked(account: _Account, work: Work, minted: Batch) -> _Account:
    # Meanwhile another thread may have learnt that stamps of another kind are asked for.
    return replace(account, stock=(*account.in_stock(), minted)) if account.work.is_as_good_as(work) else account


def _work(realm: str, key: str, puzzle: Puzzle) -> Work:
    # Where a digest is dear, a server reads no more stamps than its puzzles have: in [least, 2 least).
    most = 2 * LEAST_STAMPS - 1 if puzzle.cost is None else (1 << puzzle.count.bit_length()) - 1
    return Work(prepaid_resource(realm, key), puzzle.algorithm, puzzle.cost, most)


def _told_the_time(account: _Account, reply: Reply) -> _Account:
    date = reply.date
    return account if date is None else replace(account, clock=date.timestamp() - time.monotonic())


def _path(url: str) -> str:
    return url.partition("?")[0]


_all: WeakSet[Purse] = WeakSet()


def _renew_all() -> None:
    for purse in list(_all):
        purse.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
