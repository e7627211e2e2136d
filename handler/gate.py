"""The gate: who asks, what is owed, what has been paid. Knows no server and no model.

A batch of requests goes in, a decision for each comes out: admitted, or refused with a problem. What the victim
then does with the admitted ones is reported back with `settle` and `undo`.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from calpow.handler import problems
from calpow.handler.calibration import Calibration
from calpow.handler.challenge import Claims
from calpow.handler.charging import charge_and_credit
from calpow.handler.decision import Admitted, Decision, Pricer, Refused, Request
from calpow.handler.errors import BadPayload, PricingUnavailable
from calpow.handler.issuer import Issuer
from calpow.handler.leakage.base import Priced
from calpow.handler.ledger.base import (
    Ledger,
    LedgerUnavailable,
    OpenChallenge,
    Payment,
    Quote,
    QuoteRequest,
    TooManyOpen,
    Totals,
)
from calpow.handler.problems import Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Asking:
    """A request whose account is known and which has not redeemed a challenge: `why` is what it will be told.

    A `payment` of prepaid stamps may be enough for the challenge it would get.
    """

    index: int
    account: str
    request: Request
    why: Problem
    payment: Payment | None = None


class Gate:
    """Admits or refuses the requests to one model."""

    def __init__(
        self,
        model: str,
        ledger: Ledger,
        calibration: Calibration,
        pricer: Pricer,
        *,
        holder: str,
        max_open: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._model = model
        self._ledger = ledger
        self._calibration = calibration
        self._pricer = pricer
        self._holder = holder
        self._max_open = max_open
        self._clock = clock
        self._issuer = Issuer(model, ledger, calibration, holder, clock)
        self._is_alive: Callable[[str], bool] | None = None
        self._owed_settle: set[str] = set()
        self._owed_undo: set[str] = set()

    @property
    def realm(self) -> str:
        """The model and the deployment, `digits@9f2c41`. Raises LedgerUnavailable."""
        return self._issuer.realm

    def admit(self, requests: Sequence[Request]) -> list[Decision]:
        """Decide over a batch. Never raises for what a client sent or because the ledger is down."""
        decisions: dict[int, Decision] = {}
        try:
            self._catch_up()
            self._issuer.refresh()
            self._decide(requests, decisions)
        except LedgerUnavailable as problem:
            log.error("calpow: ledger unavailable, refusing: %s", problem)
        except Exception:
            # A fault of ours must not keep what others in the batch have paid.
            log.exception("calpow: a batch could not be decided")
            self.undo(each.id for each in decisions.values() if isinstance(each, Admitted))
            return [Refused(problems.PRICING_UNAVAILABLE)] * len(requests)
        return [decisions.get(index, Refused(problems.LEDGER_UNAVAILABLE)) for index in range(len(requests))]

    def recover(self, is_alive: Callable[[str], bool]) -> None:
        """Give back what workers held that are no more; later, with the first batch, where the ledger is down now."""
        self._is_alive = is_alive
        self._try_catch_up()

    def settle(self, ids: Iterable[str]) -> None:
        """The victim has answered the requests these challenges paid for: they are spent."""
        self._owed_settle.update(ids)
        self._try_catch_up()

    def undo(self, ids: Iterable[str]) -> None:
        """The victim failed: the same solutions may be tried again."""
        self._owed_undo.update(ids)
        self._try_catch_up()

    def _try_catch_up(self) -> None:
        try:
            self._catch_up()
        except LedgerUnavailable as problem:
            # What we hold nobody else can spend meanwhile; the next batch tries again.
            log.error("calpow: ledger unavailable, will catch up later: %s", problem)

    def _catch_up(self) -> None:
        if self._is_alive is not None:
            given_back = self._ledger.recover(self._is_alive)
            log.info("calpow: challenges of workers that are no more: %d given back", given_back)
            self._is_alive = None
        if self._owed_settle:
            self._ledger.settle(sorted(self._owed_settle))
            self._owed_settle.clear()
        if self._owed_undo:
            self._ledger.undo(sorted(self._owed_undo))
            self._owed_undo.clear()

    def _decide(self, requests: Sequence[Request], decisions: dict[int, Decision]) -> None:
        accounts = self._identify(requests, decisions)
        asking = self._redeem(requests, accounts, decisions)
        asking = self._reuse_open(asking, decisions)
        self._quote(asking, decisions)
        self._announce_next(accounts, decisions)

    def _identify(self, requests: Sequence[Request], decisions: dict[int, Decision]) -> dict[int, str]:
        accounts: dict[int, str] = {}
        for index, request in enumerate(requests):
            if not request.key:
                decisions[index] = Refused(problems.IDENTITY_MISSING)
                continue
            account = self._ledger.account_of(request.key)
            if account is None:
                decisions[index] = Refused(problems.IDENTITY_UNKNOWN)
            else:
                accounts[index] = account
        return accounts

    def _redeem(
        self, requests: Sequence[Request], accounts: dict[int, str], decisions: dict[int, Decision]
    ) -> list[_Asking]:
        """Admit what is paid for; return the rest, each with the reason it is told."""
        asking: list[_Asking] = []
        paid: dict[int, Claims] = {}
        for index, account in accounts.items():
            checked = self._issuer.check(requests[index], account)
            if isinstance(checked, Claims):
                paid[index] = checked
            elif isinstance(checked, Payment):
                asking.append(_Asking(index, account, requests[index], problems.POW_REQUIRED, checked))
            else:
                asking.append(_Asking(index, account, requests[index], checked))
        if not paid:
            return asking
        redeemed = set(
            self._ledger.redeem([claims.jti for claims in paid.values()], now=self._clock(), holder=self._holder)
        )
        for index, claims in paid.items():
            if claims.jti in redeemed:
                redeemed.discard(claims.jti)
                decisions[index] = Admitted(claims.jti, 0)
            else:
                asking.append(_Asking(index, accounts[index], requests[index], problems.CHALLENGE_SPENT))
        return asking

    def _announce_next(self, accounts: dict[int, str], decisions: dict[int, Decision]) -> None:
        for index, account in accounts.items():
            admitted = decisions[index]
            if isinstance(admitted, Admitted):
                totals = self._ledger.totals(self._model, account)
                decisions[index] = Admitted(admitted.id, self._issuer.next_hashes(totals))

    def _reuse_open(self, asking: Sequence[_Asking], decisions: dict[int, Decision]) -> list[_Asking]:
        """Answer those who hold an open challenge for the same payload, or too many; return the others."""
        new: list[_Asking] = []
        now = self._clock()
        for each in asking:
            standing = self._ledger.standing(self._model, each.account, each.request.digest, now)
            if standing.challenge is not None:
                decisions[each.index] = self._pay_open(each, standing.challenge, now)
            elif standing.open_count >= self._max_open:
                wait = (standing.soonest_expiry or now) - now
                decisions[each.index] = Refused(problems.too_many_open(wait))
            else:
                new.append(each)
        return new

    def _pay_open(self, asking: _Asking, challenge: OpenChallenge, now: float) -> Decision:
        """Answer with an open challenge, which prepaid stamps may pay at the price it was issued for."""
        if not self._issuer.takes_prepaid(challenge):
            asking = replace(asking, payment=None)
        paid = asking.payment is not None and self._ledger.pay(challenge, asking.payment, now=now)
        return self._answer(asking, Quote(challenge, charged=False, paid=paid))

    def _quote(self, asking: Sequence[_Asking], decisions: dict[int, Decision]) -> None:
        """Price what has not been priced, charge for it and issue challenges."""
        readable: list[tuple[_Asking, Priced]] = []
        if not asking:
            return
        prices = self._pricer.price([each.request.payload for each in asking])
        for each, priced in zip(asking, prices, strict=True):
            if isinstance(priced, BadPayload):
                decisions[each.index] = Refused(problems.bad_payload(str(priced)))
            elif isinstance(priced, PricingUnavailable):
                log.error("calpow: pricing unavailable, refusing: %s", priced)
                decisions[each.index] = Refused(problems.PRICING_UNAVAILABLE)
            else:
                readable.append((each, priced))
        if not readable:
            return
        orders = [self._order(each, priced) for each, priced in readable]
        quotes = self._ledger.quote(self._model, orders, now=self._clock(), max_open=self._max_open)
        for (each, _), quote in zip(readable, quotes, strict=True):
            decisions[each.index] = self._answer(each, quote)

    def _answer(self, asking: _Asking, quote: Quote | TooManyOpen) -> Decision:
        if isinstance(quote, TooManyOpen):
            return Refused(problems.too_many_open(quote.retry_after))
        if quote.paid:
            return Admitted(quote.challenge.id, 0)
        return self._refuse(asking, quote.challenge)

    def _order(self, asking: _Asking, priced: Priced) -> QuoteRequest:
        samples = len(priced.costs)
        charge, credit = charge_and_credit(self._calibration, priced)

        def draft(totals: Totals) -> OpenChallenge:
            # As the account will stand once this is paid: its own cheap samples make up for its dear ones.
            return self._issuer.issue(asking.account, asking.request.digest, totals + credit, samples)

        return QuoteRequest(asking.account, asking.request.digest, charge, credit, draft, asking.payment)

    def _refuse(self, asking: _Asking, challenge: OpenChallenge) -> Refused:
        # Enough, and yet it did not pay: a stamp had been spent before.
        spent = asking.payment is not None and asking.payment.hashes >= challenge.hashes
        return Refused(self._issuer.present(problems.CHALLENGE_SPENT if spent else asking.why, challenge))
