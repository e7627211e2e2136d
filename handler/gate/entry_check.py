"""Checks of a request before the victim runs: who sends it, whether it is allowed, and whether it presents the work."""

from calpow.handler.gate import problems
from calpow.handler.gate.case import Case, Checked
from calpow.handler.gate.challenges import Issuer, is_solved
from calpow.handler.gate.interface import Allowance, Answer, AnyRequest, Purpose, Refused, Request
from calpow.handler.gate.problems import Problem
from calpow.handler.gate.refusals import Refusals, too_large
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.policy.tariff import TooLarge


class EntryCheck:
    """Checks requests to one model, the cheapest checks first. Writes nothing and does not run the victim."""

    def __init__(self, model: str, ledger: Ledger, issuer: Issuer, refusals: Refusals, allowance: Allowance) -> None:
        self._model = model
        self._ledger = ledger
        self._issuer = issuer
        self._refusals = refusals
        self._allowance = allowance

    def identify(self, key: str | None) -> str | Refused:
        """Return the name of the account that a key belongs to. Raises LedgerUnavailable."""
        if not key:
            return Refused(problems.IDENTITY_MISSING, "no key")
        account = self._ledger.account_of(key)
        return Refused(problems.IDENTITY_UNKNOWN, "unknown or revoked key") if account is None else account

    def check(self, case: Case[AnyRequest, Answer]) -> Checked[AnyRequest, Answer] | Refused:
        """Identify the account, apply the owner's limits, and check the work. Raises LedgerUnavailable."""
        request = case.request
        account = self.identify(request.key)
        if isinstance(account, Refused):
            return account
        if request.purpose is Purpose.explain and not self._allowance.explanation_factor:
            return Refused(problems.EXPLANATION_REFUSED, f"account {account}: explanations are not given")
        excess = self._excess(request)
        if excess is not None:
            return Refused(excess, f"account {account}: {excess.title.lower()}")
        checked = self._check_work(case, account)
        if isinstance(checked, Checked) and not request.digest:
            reason = "the payload is nested too deep"
            return Refused(problems.bad_payload(reason), f"account {account}: {reason}")
        return checked

    def _excess(self, request: Request) -> Problem | None:
        """Return the problem of a request beyond the owner's limits, whose payload nothing has decoded yet."""
        most = self._allowance
        if request.samples > most.samples:
            return problems.too_many_samples(most.samples)
        if 0 < most.size < request.size:
            return problems.too_many_bytes(most.size)
        if 0 < most.pixels < request.pixels:
            return problems.too_many_pixels(most.pixels)
        return None

    def _check_work(self, case: Case[AnyRequest, Answer], account: str) -> Checked[AnyRequest, Answer] | Refused:
        """Compare the presented work with the account's price: first its claims, then its ids, then its digests."""
        request = case.request
        solved = self._issuer.read(request, account)
        standing = self._ledger.standing(self._model, account, () if isinstance(solved, Refused) else solved.ids)
        state = standing.account
        if isinstance(solved, Refused):
            return self._refusals.with_challenge(solved, request, account, state)
        if standing.outcomes:
            # A retry or a spent solution, which the ledger tells apart when it admits the use. Decision 0004.
            return Checked(case, account, state, solved, asked=0, seen_spent=True)
        if not solved.is_open:
            expired = Refused(problems.CHALLENGE_EXPIRED, "the solution has expired")
            return self._refusals.with_challenge(expired, request, account, state, solved)
        asked = self._refusals.asked(request, state, solved)
        if isinstance(asked, TooLarge):
            return too_large(account, asked)
        if not is_solved(solved):
            invalid = Refused(problems.INVALID_SOLUTION, "a stamp has less work than it claims")
            return self._refusals.with_challenge(invalid, request, account, state, solved)
        if solved.hashes < asked:
            return self._refusals.for_missing_work(account, solved, asked)
        return Checked(case, account, state, solved, asked, seen_spent=False)
