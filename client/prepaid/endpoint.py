"""The state of one URL that is paid for beforehand: its price, its server's clock, and the stamps in stock for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from calpow.client.prepaid.stamps import PrepaidTerms, Prepayment, StampBatch
from calpow.client.reply import Reply
from calpow.puzzle.puzzle import Puzzle


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that has asked for work.

    next_hashes: the announced price of the next answer; 0 before any was announced.
    requests: the number of requests sent.
    clock: the server's clock, in seconds ahead of time.monotonic(); None while it has sent no Date.
    refuses_stamps: whether it refused prepaid stamps for a reason that holds for new ones, too.
    too_slow_from: the lowest price whose stamps took too long to mint in the background.
    stock: stamps that were minted in the background, usable or not.
    """

    terms: PrepaidTerms
    next_hashes: int = 0
    requests: int = 1
    clock: float | None = None
    refuses_stamps: bool = False
    too_slow_from: int = 1 << 63
    stock: tuple[StampBatch, ...] = field(default=(), repr=False)

    @property
    def server_time(self) -> datetime:
        """The time now, by the server's clock if it is known."""
        if self.clock is None:
            return datetime.now(timezone.utc)
        return datetime.fromtimestamp(self.clock + time.monotonic(), timezone.utc)

    @property
    def usable_stock(self) -> tuple[StampBatch, ...]:
        """The stamps in stock that can be sent."""
        return tuple(batch for batch in self.stock if batch.is_usable())

    def can_prepay(self, max_hashes: int) -> bool:
        """Return whether the price is known, at most `max_hashes`, and can be paid with prepaid stamps."""
        return 0 < self.next_hashes <= max_hashes and not self.refuses_stamps

    def prepayment(self) -> Prepayment:
        """Return the payment of the price: the stock and its shortfall, or new stamps alone where both do not fit."""
        from_stock = Prepayment(self.usable_stock, None)
        if self.next_hashes <= from_stock.stock_hashes:
            return from_stock
        puzzle = self.shortfall()
        if puzzle is not None:
            return replace(from_stock, puzzle=puzzle)
        return Prepayment((), self.terms.puzzle(self.next_hashes, self.terms.max_stamps))

    def shortfall(self) -> Puzzle | None:
        """Return the puzzle for what the stock lacks of the price; None if it lacks nothing, or the stamps do not fit.

        They do not fit where the server would have to read more than `terms.max_stamps` together with the stock.
        """
        from_stock = Prepayment(self.usable_stock, None)
        missing = self.next_hashes - from_stock.stock_hashes
        room = self.terms.max_stamps - len(from_stock.stamps)
        return self.terms.puzzle(missing, room, self.next_hashes) if missing > 0 else None

    def with_stamps(self, terms: PrepaidTerms, minted: StampBatch) -> Endpoint:
        """Return the endpoint with stamps added to its stock, unless its terms have changed since."""
        return replace(self, stock=(*self.usable_stock, minted)) if self.terms.accepts_stamps_of(terms) else self

    def after_challenge(self, terms: PrepaidTerms, reply: Reply) -> Endpoint:
        """Return the endpoint after a 402 with these terms."""
        same = self.terms.accepts_stamps_of(terms)
        if same:
            # A rest may have fewer stamps than the server reads, and smaller ones than its other challenges.
            most = max(terms.max_stamps, self.terms.max_stamps)
            bits = self.terms.bits if reply.problem == "more-required" else terms.bits
            endpoint = replace(self, terms=replace(terms, max_stamps=most, bits=bits))
        else:
            endpoint = replace(self, terms=terms, stock=(), refuses_stamps=False)
        if reply.was_prepaid and reply.problem not in ("more-required", "challenge-spent"):
            # The server would refuse the stock as well: it has the same resource, and its dates are of the same clock.
            # Without a Date, a clock that differs cannot be corrected. Stamps of new terms have not been tried.
            refuses = same and (reply.problem != "challenge-expired" or reply.date is None)
            endpoint = replace(endpoint, stock=(), refuses_stamps=refuses)
        return endpoint._with_clock_of(reply)

    def after_answer(self, next_hashes: int, reply: Reply) -> Endpoint:
        """Return the endpoint after an answer that announced a price, and may have announced another subject."""
        terms = self.terms if reply.subject is None else self.terms.for_subject(reply.subject)
        stock = self.stock if terms == self.terms else ()
        return replace(self, next_hashes=next_hashes, terms=terms, stock=stock)._with_clock_of(reply)

    def _with_clock_of(self, reply: Reply) -> Endpoint:
        date = reply.date
        return self if date is None else replace(self, clock=date.timestamp() - time.monotonic())
