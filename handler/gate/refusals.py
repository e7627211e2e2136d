"""Refusals that come with a challenge: for the account's price, for missing work, and for a withheld answer."""

from collections.abc import Callable

from calpow.handler.gate import problems
from calpow.handler.gate.challenges import Issuer, Solved, rest_of, rest_of_withheld
from calpow.handler.gate.interface import Allowance, Refused, Request
from calpow.handler.ledger.account import Account
from calpow.handler.ledger.solutions import Outcome
from calpow.handler.policy.tariff import Tariff, TooLarge


class Refusals:
    """Creates the refusals of one model that come with a challenge.

    `state` is the account's state as read last. Every method may raise LedgerUnavailable.
    """

    def __init__(self, issuer: Issuer, tariff: Tariff, allowance: Allowance, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._tariff = tariff
        self._allowance = allowance
        self._clock = clock

    def asked(self, request: Request, state: Account, solved: Solved | None = None) -> int | TooLarge:
        """Return the work that a request must present now.

        A solution that pays for a withheld answer is asked for one sample and for what the account owes: the samples
        of that answer are priced already.
        """
        if solved is not None and solved.withheld is not None:
            return self._tariff.announced(state)
        return self._tariff.asked(state, request.samples, self._allowance.price_factor(request.purpose))

    def with_challenge(
        self, refusal: Refused, request: Request, account: str, state: Account, solved: Solved | None = None
    ) -> Refused:
        """Return `refusal` with a challenge for the account's price; 413 when no challenge may ask for it.

        Whoever has no budget left is told so instead, and asked for no work.
        """
        exhausted = self.exhausted(account, state, request.samples, solved)
        if exhausted is not None:
            return exhausted
        asked = self.asked(request, state, solved)
        if isinstance(asked, TooLarge):
            return too_large(account, asked)
        asked = max(asked, self._tariff.floor)
        problem = self._issuer.challenge(refusal.problem, account, asked)
        return Refused(problem, f"account {account}, asked for {asked} hashes: {refusal.reason}")

    def exhausted(self, account: str, state: Account, samples: int, solved: Solved | None = None) -> Refused | None:
        """Return the refusal of samples that the budget of an account or its group does not cover, or None.

        The samples of a withheld answer, for whose rest a solution pays, are counted already.
        """
        left = None if state.is_plain else state.samples_left
        if left is None or samples <= left or (solved is not None and solved.withheld is not None):
            return None
        return Refused(problems.BUDGET_EXHAUSTED, f"account {account}: {samples} samples asked for, {left} left")

    def for_missing_work(self, account: str, solved: Solved, asked: int) -> Refused:
        """Refuse valid work that is not enough. It is not spent, and the challenge asks for the rest."""
        missing = self._tariff.at_least(asked - solved.hashes)
        rest = rest_of(solved, self._tariff.seconds(missing), self._clock())
        step = asked if rest is None else missing
        problem = self._issuer.challenge(problems.MORE_REQUIRED, account, step, rest)
        return Refused(problem, f"account {account}, asked for {asked} hashes: only {solved.hashes} presented")

    def for_withheld(self, account: str, state: Account, outcome: Outcome) -> Refused:
        """Withhold an answer. The challenge asks for its rest, or for the account's price now if that is more.

        Decision 0002.
        """
        reason = f"account {account}: answer withheld, {outcome.rest} of {outcome.price} hashes unpaid"
        if outcome.rest > self._tariff.longest:
            samples = min(self._tariff.payable(state), self._allowance.samples)
            return Refused(problems.rest_too_large(samples), reason)
        step = max(self._tariff.announced(state), self._tariff.at_least(outcome.rest))
        problem = self._issuer.challenge(problems.MORE_REQUIRED, account, step, rest_of_withheld(outcome))
        return Refused(problem, reason)


def too_large(account: str, limit: TooLarge) -> Refused:
    """Refuse a request that needs more work than one challenge may ask for."""
    reason = f"account {account}: one challenge can ask for {limit.samples} samples at its price"
    return Refused(problems.too_large(limit.samples), reason)
