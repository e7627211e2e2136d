"""The gate: an account pays the price of its past, then the victim runs once, and that pass is priced and answered.

The gate knows no server and no model. Requests go in together with a function that runs the victim; a decision for
each comes out: the victim's answer, or a problem.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calpow.handler.gate import problems
from calpow.handler.gate.challenges import (
    LONGEST_EXPIRY_SECONDS,
    REMEMBERED_SECONDS,
    Issuer,
    Solved,
    is_solved,
    rest_of,
    rest_of_withheld,
)
from calpow.handler.gate.decision import Decision, Ran, Refused, Released, Request, Run
from calpow.handler.gate.problems import Problem
from calpow.handler.gate.settling import Settled, settle, settle_rest
from calpow.handler.ledger.ledger import (
    RETRY_SECONDS,
    Account,
    Admission,
    Charge,
    Ledger,
    LedgerUnavailable,
    Outcome,
    Settlement,
    Spending,
    Use,
    UseResult,
)
from calpow.handler.policy.calibration_file import Calibration
from calpow.handler.policy.tariff import Tariff, TooLarge

log = logging.getLogger(__name__)

# How often a settlement is computed again because the account has changed meanwhile.
MOST_CONFLICTS = 8
LONGEST_NAP_SECONDS = 0.004


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the owner allows: samples in a request, and the factor of an explanation's price, 0 to refuse it."""

    samples: int
    explanation_factor: float


@dataclass(slots=True)
class Case:
    """One request on its way through the gate, with what is known of it so far.

    `account` was read when the price was set, and so much work was `asked` for then. `is_retry`: its ids were seen to
    be spent, so that neither its work nor its stamps were looked at. `decision` ends its way.
    """

    request: Request
    name: str = ""
    account: Account | None = None
    solved: Solved | None = None
    asked: int = 0
    is_retry: bool = False
    admitted: UseResult | None = None
    evidence: tuple[Charge, ...] = ()
    ran: Ran | None = None
    decision: Decision | None = None


class Gate:
    """Admits, prices and settles the requests to one model."""

    def __init__(
        self,
        model: str,
        ledger: Ledger,
        calibration: Calibration,
        allowance: Allowance,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._model = model
        self._ledger = ledger
        self._calibration = calibration
        self._allowance = allowance
        self._clock = clock
        self._tariff = Tariff(calibration)
        self._issuer = Issuer(model, ledger, calibration, self._tariff, clock)

    @property
    def realm(self) -> str:
        """The model and the deployment, `digits@9f2c41`. Raises LedgerUnavailable."""
        return self._issuer.realm

    def identify(self, key: str | None) -> str | Problem:
        """Return the account of a key, or why there is none. Raises LedgerUnavailable."""
        if not key:
            return problems.IDENTITY_MISSING
        return self._ledger.account_of(key) or problems.IDENTITY_UNKNOWN

    def answer(self, requests: Sequence[Request], run: Run) -> list[Decision]:
        """Decide over a batch; `run` is called for those that are paid for.

        Never raises for what a client sent or because the ledger is down. Uses of one solution run one after another.
        """
        cases = [Case(request) for request in requests]
        try:
            self._decide(cases, run)
        except LedgerUnavailable as problem:
            log.error("calpow: ledger unavailable, refusing: %s", problem)
            return _closed(cases, problems.LEDGER_UNAVAILABLE)
        except Exception:
            log.exception("calpow: a batch could not be decided")
            return _closed(cases, problems.PRICING_UNAVAILABLE)
        return _closed(cases, problems.PRICING_UNAVAILABLE)

    def _decide(self, cases: Sequence[Case], run: Run) -> None:
        for case in cases:
            case.decision = self._check(case)
        waiting = [case for case in cases if case.decision is None]
        while waiting:
            turn, waiting = _next_turn(waiting)
            self._admit(turn)
            admitted = [case for case in turn if case.decision is None]
            self._run(admitted, run)
            self._settle([case for case in admitted if case.decision is None])

    # ---- Before the victim runs -------------------------------------------------------------------------------------

    def _check(self, case: Case) -> Decision | None:
        """Identify the account, refuse what is never answered, and look at the work that came; None if it is enough."""
        request = case.request
        account = self.identify(request.key)
        if isinstance(account, Problem):
            return Refused(account)
        case.name = account
        if request.explains and not self._allowance.explanation_factor:
            return Refused(problems.EXPLANATION_REFUSED)
        if request.samples > self._allowance.samples:
            return Refused(problems.too_many_samples(self._allowance.samples))
        return self._check_work(case) or self._check_payload(case)

    def _check_payload(self, case: Case) -> Decision | None:
        if not case.request.digest:
            return Refused(problems.bad_payload("the payload is nested too deep"))
        return None

    def _check_work(self, case: Case) -> Decision | None:
        """Compare the work that came with the price of the account's past: claims first, then ids, then digests."""
        solved = self._issuer.read(case.request, case.name)
        standing = self._ledger.standing(self._model, case.name, () if isinstance(solved, Problem) else solved.ids)
        case.account = standing.account
        if isinstance(solved, Problem):
            return self._challenge(case, solved)
        case.solved = solved
        if standing.outcomes:
            # A retry, or a solution that is spent: the ledger says which when it is admitted.
            case.is_retry = True
            return None
        if not solved.is_open:
            return self._challenge(case, problems.CHALLENGE_EXPIRED)
        asked = self._asked(case)
        if isinstance(asked, TooLarge):
            return Refused(problems.too_large(asked.samples))
        case.asked = asked
        if not is_solved(solved):
            return self._challenge(case, problems.INVALID_SOLUTION)
        return None if solved.hashes >= asked else self._ask_for_more(case, solved, asked)

    def _ask_for_more(self, case: Case, solved: Solved, asked: int) -> Refused:
        """Refuse valid work of too little, which is not spent, with a challenge for the rest."""
        missing = self._tariff.at_least(asked - solved.hashes)
        rest = rest_of(solved, self._tariff.seconds(missing), self._clock())
        step = asked if rest is None else missing
        return Refused(self._issuer.refuse(problems.MORE_REQUIRED, case.name, step, rest))

    def _admit(self, cases: Sequence[Case]) -> None:
        """Count the use of each solution, once the ledger has refused those that are spent."""
        uses = [_use(case) for case in cases]
        for case, result in zip(cases, self._ledger.admit(uses, now=self._clock()), strict=True):
            case.admitted = result
            # What was let through as a retry is none where the ledger has forgotten its ids meanwhile.
            forgotten = case.is_retry and result.admission is Admission.FRESH
            if forgotten or result.admission in (Admission.SPENT, Admission.EXHAUSTED):
                case.decision = self._challenge(case, problems.CHALLENGE_SPENT)
            elif result.admission is Admission.MISMATCH:
                case.decision = self._challenge(case, problems.CHALLENGE_MISMATCH)
            elif result.outcome is not None and result.outcome.rest:
                case.decision = self._withhold(case, result.outcome)

    def _factor(self, case: Case) -> float:
        return self._allowance.explanation_factor if case.request.explains else 1.0

    def _asked(self, case: Case) -> int | TooLarge:
        assert case.account is not None
        if case.solved is not None and case.solved.withheld is not None:
            return self._tariff.announced(case.account)
        return self._tariff.asked(case.account, case.request.samples, self._factor(case))

    def _challenge(self, case: Case, why: Problem) -> Refused:
        """Refuse with a challenge for the price of the account's past."""
        asked = self._asked(case)
        if isinstance(asked, TooLarge):
            return Refused(problems.too_large(asked.samples))
        return Refused(self._issuer.refuse(why, case.name, asked))

    def _withhold(self, case: Case, outcome: Outcome) -> Refused:
        """Refuse with a challenge for the rest of a withheld answer, or for the price of the day where that is more.

        The price of the day is that of one sample and what the account owes: those of the request are priced already.
        """
        assert case.account is not None
        if outcome.rest > self._tariff.longest:
            return Refused(problems.REST_TOO_LARGE)
        step = max(self._tariff.announced(case.account), self._tariff.at_least(outcome.rest))
        rest = rest_of_withheld(outcome)
        return Refused(self._issuer.refuse(problems.MORE_REQUIRED, case.name, step, rest))

    # ---- The pass ---------------------------------------------------------------------------------------------------

    def _run(self, cases: Sequence[Case], run: Run) -> None:
        if not cases:
            return
        for case, ran in zip(cases, run([case.request for case in cases]), strict=True):
            case.ran = ran
            problem = ran.problem
            if ran.priced is not None and len(ran.priced.costs) > self._allowance.samples:
                problem = problems.too_many_samples(self._allowance.samples)
            if problem is not None or ran.priced is None:
                self._fail(case, problem)
                case.decision = Released(ran.answer, None) if problem is None else Refused(problem)
            elif _is_repeat(case):
                account = self._ledger.account(self._model, case.name)
                case.decision = Released(ran.answer, self._tariff.announced(account))
            else:
                case.evidence = tuple(self._calibration.evidence_of(ran.priced))

    def _fail(self, case: Case, problem: Problem | None) -> None:
        """The victim has not answered: the work stays good, unless the account fails too often by its own fault."""
        if _is_repeat(case) or case.solved is None or problem is problems.PRICING_UNAVAILABLE:
            return
        solved = case.solved
        self._ledger.fail(self._model, case.name, solved.ids, expires=solved.expires, now=self._clock())

    # ---- Settling ---------------------------------------------------------------------------------------------------

    def _settle(self, cases: Sequence[Case]) -> None:
        """Settle each account's answers on its version of that moment; again where it has changed meanwhile."""
        pending: dict[str, list[Case]] = {}
        for case in cases:
            pending.setdefault(case.name, []).append(case)
        for attempt in range(MOST_CONFLICTS):
            if attempt:
                time.sleep(random.uniform(0, LONGEST_NAP_SECONDS))  # noqa: S311
                self._read_again(pending)
            self._settle_once(pending)
            if not pending:
                return
        log.error("calpow: an account changed %d times while its answers were settled: refusing", MOST_CONFLICTS)
        for waiting in pending.values():
            for case in waiting:
                case.decision = Refused(problems.LEDGER_UNAVAILABLE)

    def _settle_once(self, pending: dict[str, list[Case]]) -> None:
        """Settle what is pending, and take out the accounts that have not changed since they were read."""
        for name in [name for name, waiting in pending.items() if not waiting]:
            del pending[name]
        plans = {name: self._plan(waiting) for name, waiting in pending.items()}
        if not plans:
            return
        written = self._ledger.settle(self._model, [settlement for settlement, _ in plans.values()], now=self._clock())
        for (name, (settlement, settled)), done in zip(plans.items(), written, strict=True):
            if done:
                self._conclude(pending.pop(name), settlement, settled)

    def _read_again(self, pending: dict[str, list[Case]]) -> None:
        """Read accounts anew, and end those requests whose solution another use has spent meanwhile."""
        for name, waiting in pending.items():
            ids = [each for case in waiting if case.solved is not None for each in case.solved.ids]
            standing = self._ledger.standing(self._model, name, ids)
            for case in waiting:
                assert case.solved is not None
                case.account = standing.account
                outcomes = [standing.outcomes[each] for each in case.solved.ids if each in standing.outcomes]
                if outcomes:
                    case.decision = self._overtaken(case, outcomes[0])
            pending[name] = [case for case in waiting if case.decision is None]

    def _overtaken(self, case: Case, outcome: Outcome) -> Decision:
        """Another use of the same solution was settled first: its outcome is repeated for the same request."""
        assert case.ran is not None
        assert case.account is not None
        assert case.solved is not None
        if (outcome.solution, outcome.digest) != (case.solved.name, case.request.digest):
            return self._challenge(case, problems.CHALLENGE_SPENT)
        if outcome.rest:
            return self._withhold(case, outcome)
        return Released(case.ran.answer, self._tariff.announced(case.account))

    def _plan(self, cases: Sequence[Case]) -> tuple[Settlement, list[Settled]]:
        """One account's settlement: its answers one after another, on the state it was read in."""
        account = cases[0].account
        assert account is not None
        before, now = account.version, self._clock()
        settled: list[Settled] = []
        spendings: list[Spending] = []
        for case in cases:
            result = self._settled(case, account)
            account = Account(result.totals, result.owed, before)
            settled.append(result)
            spendings.append(_spending(case, result, now))
        return Settlement(cases[0].name, before, account.totals, account.owed, tuple(spendings)), settled

    def _settled(self, case: Case, account: Account) -> Settled:
        assert case.solved is not None
        assert case.admitted is not None
        withheld = case.admitted.withheld
        if withheld is not None:
            return settle_rest(self._tariff, account, withheld, case.solved.hashes)
        return settle(self._tariff, account, case.evidence, case.solved.hashes, case.asked, self._factor(case))

    def _conclude(self, cases: Sequence[Case], settlement: Settlement, settled: Sequence[Settled]) -> None:
        account = Account(settlement.totals, settlement.owed, settlement.before + 1)
        for case, result, spending in zip(cases, settled, settlement.spendings, strict=True):
            case.account = account
            if result.rest:
                case.decision = self._withhold(case, spending.outcome)
            else:
                assert case.ran is not None
                case.decision = Released(case.ran.answer, self._tariff.announced(account))


def _next_turn(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Those that can run together, no two of them with an id in common; and the others."""
    taken: set[str] = set()
    turn: list[Case] = []
    later: list[Case] = []
    for case in cases:
        ids = set(case.solved.ids) if case.solved is not None else set()
        if taken.isdisjoint(ids):
            turn.append(case)
        else:
            later.append(case)
        taken |= ids
    return turn, later


def _use(case: Case) -> Use:
    solved = case.solved
    assert solved is not None
    return Use(solved.name, solved.ids, case.request.digest, solved.expires, solved.withheld)


def _is_repeat(case: Case) -> bool:
    return case.admitted is not None and case.admitted.admission is Admission.REPEAT


def _spending(case: Case, settled: Settled, now: float) -> Spending:
    solved = case.solved
    assert solved is not None
    outcome = Outcome(solved.name, case.request.digest, now, settled.price, settled.work, settled.rest)
    # The rest of a withheld answer can be asked for as long as its solution may be repeated; then it is solved, and
    # what is too little for it is added to.
    kept = now + RETRY_SECONDS + REMEMBERED_SECONDS + (2 * LONGEST_EXPIRY_SECONDS if settled.rest else 0.0)
    return Spending(solved.ids, outcome, max(solved.expires, kept))


def _closed(cases: Sequence[Case], problem: Problem) -> list[Decision]:
    """The decisions; `problem` for those that have none, whose answers are held back for good."""
    return [Refused(problem) if case.decision is None else case.decision for case in cases]
