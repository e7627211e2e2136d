"""Checks of a request before the victim runs: who sends it, whether it is allowed, and whether it presents the work."""

from collections.abc import Callable, Sequence

from calpow.handler.errors import UnknownIdentity
from calpow.handler.gate import problems
from calpow.handler.gate.case import Case, Checked, Presented
from calpow.handler.gate.challenges import Issuer, is_solved
from calpow.handler.gate.interface import Allowance, Answer, AnyRequest, Purpose, Refused, Request
from calpow.handler.gate.probes import is_probe
from calpow.handler.gate.problems import Problem
from calpow.handler.gate.refusals import Refusals, too_large
from calpow.handler.identity.identification import Identification, log_unknown
from calpow.handler.ledger.account import Account, Rule
from calpow.handler.ledger.holders import Identity, KeyHolder
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import day_of
from calpow.handler.policy.tariff import TooLarge

UNKNOWN_KEY = UnknownIdentity("an API key is unknown, revoked or expired")


class EntryCheck:
    """Checks requests to one model, the cheapest checks first. Writes nothing and does not run the victim."""

    def __init__(
        self,
        model: str,
        ledger: Ledger,
        issuer: Issuer,
        refusals: Refusals,
        allowance: Allowance,
        identification: Identification,
        clock: Callable[[], float],
    ) -> None:
        self._model = model
        self._ledger = ledger
        self._issuer = issuer
        self._refusals = refusals
        self._allowance = allowance
        self._identification = identification
        self._missing = Refused(problems.identity_missing(identification.ways), "no identity")
        self._clock = clock

    def account_of(self, request: Request) -> str | Refused:
        """Return the name of the account that sends a request. Raises LedgerUnavailable."""
        identity = self._identify(request)
        if isinstance(identity, Refused):
            return identity
        account = identity.account if identity.key is None else self._ledger.account_of(identity.key)
        if account is None:
            return _unknown_key()
        rule = self._ledger.rule(account)
        if rule is Rule.PROBE:
            return _only_a_probe(account)
        return _blocked(account) if rule is Rule.BLOCKED else account

    def check(self, cases: Sequence[Case[AnyRequest, Answer]]) -> list[Checked[AnyRequest, Answer]]:
        """Return the requests that may be admitted, and decide on the others. The ledger is read once for all of them.

        Raises LedgerUnavailable.
        """
        stages = [case.advance(self._present, case) for case in cases]
        presented = [stage for stage in stages if stage is not None]
        if not presented:
            return []
        holders = self._ledger.holders(self._model, [(stage.identity, stage.ids) for stage in presented])
        checked = [
            stage.case.advance(self._check, stage, holder) for stage, holder in zip(presented, holders, strict=True)
        ]
        return [stage for stage in checked if stage is not None]

    def _present(self, case: Case[AnyRequest, Answer]) -> Presented[AnyRequest, Answer] | Refused:
        identity = self._identify(case.request)
        if isinstance(identity, Refused):
            return identity
        return Presented(case, identity, self._issuer.read(case.request, identity))

    def _identify(self, request: Request) -> Identity | Refused:
        try:
            return self._identification.identify(request.credentials) or self._missing
        except UnknownIdentity as error:
            return Refused(problems.IDENTITY_UNKNOWN, str(error))

    def _check(
        self, presented: Presented[AnyRequest, Answer], holder: KeyHolder | None
    ) -> Checked[AnyRequest, Answer] | Refused:
        """Apply the owner's limits, and check the work."""
        if holder is None:
            return _unknown_key()
        account, request = holder.name, presented.case.request
        presented.case.account = account
        if presented.identity.key is None:
            presented.case.subject = self._issuer.subject(account)
        if holder.rule is Rule.BLOCKED:
            return _blocked(account)
        if holder.rule is Rule.PROBE and not is_probe(account, request.payload_digest):
            return _only_a_probe(account)
        if request.purpose is Purpose.explain and not self._allowance.explanation_factor:
            return Refused(problems.EXPLANATION_REFUSED, f"account {account}: explanations are not given")
        excess = self._excess(request)
        if excess is not None:
            return Refused(excess, f"account {account}: {excess.title.lower()}")
        checked = self._check_work(presented, holder)
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

    def _check_work(
        self, presented: Presented[AnyRequest, Answer], holder: KeyHolder
    ) -> Checked[AnyRequest, Answer] | Refused:
        """Compare the presented work with the account's price: first its claims, then its ids, then its digests."""
        case, solved, account = presented.case, presented.work, holder.name
        request, state = case.request, holder.standing.account.on(day_of(self._clock()))
        if isinstance(solved, Refused):
            if request.solution is None and self._is_free(request, account, state):
                unpaid = self._issuer.unpaid()
                return Checked(case, account, holder.rule, state, unpaid, asked=0, seen_spent=False)
            return self._refusals.with_challenge(solved, request, account, state)
        mismatch = self._issuer.mismatch(solved, request, account)
        if mismatch is not None:
            return self._refusals.with_challenge(mismatch, request, account, state)
        if holder.standing.outcomes:
            # A retry or a spent solution, which the ledger tells apart when it admits the use. Decision 0004.
            return Checked(case, account, holder.rule, state, solved, asked=0, seen_spent=True)
        if not solved.is_open:
            expired = Refused(problems.CHALLENGE_EXPIRED, "the solution has expired")
            return self._refusals.with_challenge(expired, request, account, state, solved)
        exhausted = self._refusals.exhausted(account, state, request.samples, solved)
        if exhausted is not None:
            return exhausted
        asked = self._refusals.asked(request, state, solved)
        if isinstance(asked, TooLarge):
            return too_large(account, asked)
        if not is_solved(solved):
            invalid = Refused(problems.INVALID_SOLUTION, "a stamp has less work than it claims")
            return self._refusals.with_challenge(invalid, request, account, state, solved)
        if solved.hashes < asked:
            return self._refusals.for_missing_work(account, solved, asked)
        return Checked(case, account, holder.rule, state, solved, asked, seen_spent=False)

    def _is_free(self, request: Request, account: str, state: Account) -> bool:
        """Return whether a request needs no work."""
        free = state.free_samples > 0 and self._refusals.asked(request, state) == 0
        return free and self._refusals.exhausted(account, state, request.samples) is None


def _unknown_key() -> Refused:
    log_unknown(UNKNOWN_KEY)
    return Refused(problems.IDENTITY_UNKNOWN, str(UNKNOWN_KEY))


def _only_a_probe(account: str) -> Refused:
    return Refused(problems.PROBE_ONLY, f"account {account} is for a probe alone")


def _blocked(account: str) -> Refused:
    return Refused(problems.ACCOUNT_BLOCKED, f"account {account} is blocked")
