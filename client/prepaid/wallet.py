"""The wallet of one PowAuth: prices and prepaid stamps, with which a request needs no challenge.

Prepaid stamps are good for any payload, so they can be minted while the client is idle. See docs/decisions/0030.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

from calpow.client.prepaid.background import BackgroundWorker
from calpow.client.prepaid.endpoint import Endpoint
from calpow.client.prepaid.stamps import PrepaidTerms, Prepayment, StampBatch
from calpow.client.reply import Reply
from calpow.puzzle.errors import SolvingCancelled, SolvingTooLong
from calpow.puzzle.prepaid import FRESH_SECONDS
from calpow.puzzle.process_local import ProcessLocal
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge

# The first request to a URL may be the only one: nothing is minted in the background before the second (decision 0030).
MINT_FROM_REQUEST = 2
MAX_MINTING_SECONDS = 5.0
# Stamps are discarded this long before the server would refuse them.
MARGIN_SECONDS = 60
MAX_ENDPOINTS = 256

# The expected work of what is minted at once in the background: so little that stopping loses next to nothing, and
# enough to be worth a call of the solver.
_PORTION_HASHES = 1 << 14


class Wallet:
    """The prices of the URLs of one PowAuth, and prepaid stamps for them; shared by its threads.

    After the second request to a URL, stamps for the next one are minted in a background thread, on one core and for
    at most MAX_MINTING_SECONDS. A price beyond `max_hashes` is not paid beforehand. A fork's child knows the prices,
    and mints stamps of its own.
    """

    def __init__(self, key: str | None, max_hashes: int) -> None:
        self._key = key or ""
        self._max_hashes = max_hashes
        self._worker = BackgroundWorker()
        self._lock = ProcessLocal(threading.Lock)
        self._endpoints: dict[str, Endpoint] = {}

    def withdraw(self, url: str) -> Prepayment | None:
        """Take the payment for the next request; return None if it has to wait for a challenge.

        It has to if the price is not known, if the server refuses prepaid stamps, or if whole stamps would be more work
        than `max_hashes`: the challenge may be less.
        """
        self._worker.stop()
        with self._lock.get():
            endpoint = self._endpoints.get(_name(url))
            if endpoint is None:
                return None
            endpoint = replace(endpoint, requests=endpoint.requests + 1)
            self._store(url, endpoint)
            if not endpoint.can_prepay(self._max_hashes):
                return None
            prepayment = endpoint.prepayment()
            if not endpoint.next_hashes <= prepayment.hashes <= self._max_hashes:
                return None
            self._store(url, replace(endpoint, stock=()))
        return prepayment

    def mint_in_background(self, url: str) -> None:
        """Begin to mint what the stock lacks of the announced price."""
        endpoint = self.endpoint(url)
        if endpoint is None or endpoint.requests < MINT_FROM_REQUEST or not endpoint.can_prepay(self._max_hashes):
            return
        if endpoint.next_hashes < endpoint.too_slow_from and endpoint.shortfall() is not None:
            self._worker.begin(_name(url), lambda stop: self._fill_stock(url, stop))

    def stop_minting(self) -> None:
        """Leave the machine to work that a caller waits for."""
        self._worker.stop()

    def server_time(self, url: str) -> datetime:
        """Return the time now, by the server's clock if it is known."""
        endpoint = self.endpoint(url)
        return datetime.now(timezone.utc) if endpoint is None else endpoint.server_time

    def endpoint(self, url: str) -> Endpoint | None:
        """Return the state of a URL, whose query does not matter; None if it has not asked for work."""
        with self._lock.get():
            return self._endpoints.get(_name(url))

    def learn_from_challenge(self, url: str, reply: Reply, challenge: Challenge) -> None:
        """Remember the terms for prepaid stamps that a 402 states."""
        if reply.realm is None:
            return
        terms = PrepaidTerms.of_challenge(reply.realm, self._key, challenge.puzzle, reply.subject)
        with self._lock.get():
            endpoint = self._endpoints.get(_name(url)) or Endpoint(terms)
            self._store(url, endpoint.after_challenge(terms, reply))

    def learn_from_answer(self, url: str, reply: Reply) -> None:
        """Remember the price that an answer announces, and begin to mint for it."""
        next_hashes = reply.next_hashes
        with self._lock.get():
            endpoint = self._endpoints.get(_name(url))
            if endpoint is None or next_hashes is None:
                return
            self._store(url, endpoint.after_answer(next_hashes, reply))
        self.mint_in_background(url)

    def _fill_stock(self, url: str, stop: threading.Event) -> None:
        deadline = time.monotonic() + MAX_MINTING_SECONDS
        while (endpoint := self.endpoint(url)) is not None and (missing := endpoint.shortfall()) is not None:
            portion = replace(missing, count=min(missing.count, max(1, _PORTION_HASHES >> missing.bits)))
            began = time.monotonic()
            date = endpoint.server_time
            try:
                stamps = solve(portion, workers=1, cancel=stop, max_seconds=deadline - began, date=date)
            except SolvingTooLong:
                self._update(url, lambda endpoint: replace(endpoint, too_slow_from=endpoint.next_hashes))
                return
            except SolvingCancelled:
                return
            minted = StampBatch(tuple(stamps), portion.expected_hashes, began + FRESH_SECONDS - MARGIN_SECONDS)
            self._update(url, partial(Endpoint.with_stamps, terms=endpoint.terms, minted=minted))

    def _update(self, url: str, change: Callable[[Endpoint], Endpoint]) -> None:
        with self._lock.get():
            endpoint = self._endpoints.get(_name(url))
            if endpoint is not None:
                self._endpoints[_name(url)] = change(endpoint)

    def _store(self, url: str, endpoint: Endpoint) -> None:
        """Keep an endpoint as the most recently used; forget the least recently used one if there are too many."""
        self._endpoints.pop(_name(url), None)
        self._endpoints[_name(url)] = endpoint
        if len(self._endpoints) > MAX_ENDPOINTS:
            self._endpoints.pop(next(iter(self._endpoints)))


def _name(url: str) -> str:
    return url.partition("?")[0]
