"""The gate: an account pays the price of its past, then the victim runs once, and that pass is priced and answered.

The gate depends on no server and no model. It is given requests and a function that runs the victim, and returns a
decision for each request: the victim's answer, or a problem. Decision 0001.
"""

import logging
import time
from collections.abc import Callable, Sequence

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.gate import problems
from calpow.handler.gate.audit import AuditFile
from calpow.handler.gate.case import Admitted, Answered, Case, Checked, refusal_after
from calpow.handler.gate.challenges import Issuer
from calpow.handler.gate.entry_check import EntryCheck
from calpow.handler.gate.interface import (
    Allowance,
    Answer,
    AnyRequest,
    Decision,
    PassResult,
    Purpose,
    Refused,
    Released,
    RunVictim,
)
from calpow.handler.gate.problems import Problem
from calpow.handler.gate.refusals import Refusals
from calpow.handler.gate.settler import Settler
from calpow.handler.identity.identification import API_KEYS, Identification
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import day_of
from calpow.handler.ledger.solutions import Admission, Use, UseResult
from calpow.handler.logs.rate_limited_log import RateLimitedLog
from calpow.handler.metrics.tally import ENTRY, LEDGER_ERRORS, PASS, SETTLEMENT, USE, Tally
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.tariff import Tariff

log = RateLimitedLog(logging.getLogger(__name__), "calpow: ")


class Gate:
    """The strategy of mode `enforce`: checks, admits, prices and settles the requests to one model."""

    def __init__(
        self,
        model: str,
        ledger: Ledger,
        policy: CalibratedPolicy,
        allowance: Allowance,
        tally: Tally,
        clock: Callable[[], float] = time.time,
        audit: AuditFile | None = None,
        identification: Identification = API_KEYS,
    ) -> None:
        self._model = model
        self._audit = audit
        self._ledger = ledger
        self._policy = policy
        self._allowance = allowance
        self._tally = tally
        self._clock = clock
        self._tariff = Tariff(policy)
        self._issuer = Issuer(model, ledger, policy.puzzle, self._tariff, clock)
        self._refusals = Refusals(self._issuer, self._tariff, allowance, clock)
        self._entry = EntryCheck(model, ledger, self._issuer, self._refusals, allowance, identification, clock)
        self._settler = Settler(model, ledger, self._tariff, self._refusals, allowance, tally, clock)

    @property
    def realm(self) -> str:
        """The name of the model and the deployment, `digits@9f2c41`. Raises LedgerUnavailable."""
        return self._issuer.realm

    def answer(self, requests: Sequence[AnyRequest], run: RunVictim[AnyRequest, Answer]) -> list[Decision[Answer]]:
        """Return a decision for each request of a batch; `run` is called for those that are paid for.

        Raises nothing because of what a client sent or because the ledger is down. Uses of one solution run one after
        another.
        """
        cases: list[Case[AnyRequest, Answer]] = [Case(request) for request in requests]
        try:
            self._decide(cases, run)
        except LedgerUnavailable as error:
            log.error("ledger unavailable, refusing", error)
            self._tally.add(LEDGER_ERRORS)
            _refuse_open(cases, Refused(problems.LEDGER_UNAVAILABLE, "the ledger is unavailable"))
        except Exception as error:
            _refuse_open(cases, refusal_after(error))
        if self._audit is not None:
            lines = [case.audit_line(self._model, self._clock()) for case in cases]
            self._audit.write([line for line in lines if line is not None])
        return [case.decision for case in cases]

    def _decide(self, cases: Sequence[Case[AnyRequest, Answer]], run: RunVictim[AnyRequest, Answer]) -> None:
        paying: list[Case[AnyRequest, Answer]] = []
        for case in cases:
            if case.request.purpose is Purpose.describe:
                case.advance(self._description, case, run)
            else:
                paying.append(case)
        with self._tally.timed(ENTRY):
            waiting = self._entry.check(paying)
        while waiting:
            turn, waiting = _next_turn(waiting)
            with self._tally.timed(USE):
                admitted = self._admit(turn)
            with self._tally.timed(PASS):
                answered = self._run(admitted, run)
            with self._tally.timed(SETTLEMENT):
                self._settler.settle(answered)

    def _description(self, case: Case[AnyRequest, Answer], run: RunVictim[AnyRequest, Answer]) -> Decision[Answer]:
        """Give a description of the model, which is free for everyone with an account."""
        account = self._entry.account_of(case.request)
        if isinstance(account, Refused):
            return account
        (result,) = run([case.request])
        if result.problem is not None:
            return Refused(result.problem, f"account {account}: {result.problem.detail}")
        return Released(result.answer, None)

    def _admit(self, turn: Sequence[Checked[AnyRequest, Answer]]) -> list[Admitted[AnyRequest, Answer]]:
        """Let the ledger count the use of each solution, and refuse those that are spent."""
        results = self._ledger.admit([_use(checked) for checked in turn], now=self._clock())
        stages = [
            checked.case.advance(self._admitted, checked, result) for checked, result in zip(turn, results, strict=True)
        ]
        return [stage for stage in stages if stage is not None]

    def _admitted(
        self, checked: Checked[AnyRequest, Answer], result: UseResult
    ) -> Admitted[AnyRequest, Answer] | Refused:
        admission, outcome = result.admission, result.outcome
        # A solution that was spent when it was checked is not fresh, even if the ledger has forgotten its ids since.
        forgotten = checked.seen_spent and admission is Admission.FRESH
        if forgotten or admission in (Admission.SPENT, Admission.EXHAUSTED):
            return self._refuse_use(checked, problems.CHALLENGE_SPENT, "forgotten" if forgotten else admission.value)
        if admission is Admission.MISMATCH:
            return self._refuse_use(checked, problems.CHALLENGE_MISMATCH, "no such withheld answer to this request")
        if outcome is not None and outcome.rest:
            return self._refusals.for_withheld(checked.account, checked.state, outcome)
        return Admitted(checked, result)

    def _refuse_use(self, checked: Checked[AnyRequest, Answer], problem: Problem, reason: str) -> Refused:
        refusal = Refused(problem, f"use of the solution refused: {reason}")
        return self._refusals.with_challenge(
            refusal, checked.case.request, checked.account, checked.state, checked.solved
        )

    def _run(
        self, admitted: Sequence[Admitted[AnyRequest, Answer]], run: RunVictim[AnyRequest, Answer]
    ) -> list[Answered[AnyRequest, Answer]]:
        """Run the victim once on the admitted requests, and compute what their samples do to their accounts."""
        if not admitted:
            return []
        try:
            pairs = list(zip(admitted, run([stage.case.request for stage in admitted]), strict=True))
        except Exception as error:
            _refuse_open([stage.case for stage in admitted], refusal_after(error))
            return []
        stages = [stage.case.advance(self._answered, stage, result) for stage, result in pairs]
        return [stage for stage in stages if stage is not None]

    def _answered(
        self, admitted: Admitted[AnyRequest, Answer], result: PassResult[Answer]
    ) -> Answered[AnyRequest, Answer] | Released[Answer] | Refused:
        account, samples, problem = admitted.checked.account, result.samples, result.problem
        if samples is not None and len(samples.labels) > self._allowance.samples:
            problem = problems.too_many_samples(self._allowance.samples)
        if problem is not None:
            self._count_failure(admitted, problem)
            return Refused(problem, f"account {account}, after the pass: {problem.detail}")
        if samples is None:
            self._count_failure(admitted)
            return Released(result.answer, None)
        if admitted.is_repeat:
            state = self._ledger.account(self._model, account).on(day_of(self._clock()))
            return Released(result.answer, self._tariff.announced(state))
        if admitted.checked.rule in (Rule.TRUSTED, Rule.PROBE):
            charges = [self._policy.ordinary_charge(identity) for identity in samples.identities]
        else:
            charges = self._policy.charges(samples.scores, samples.labels, samples.identities)
        return Answered(admitted, result.answer, tuple(charges))

    def _count_failure(self, admitted: Admitted[AnyRequest, Answer], problem: Problem | None = None) -> None:
        """Count a failed pass: its work stays unspent, unless the account fails too often by its own fault."""
        if admitted.is_repeat:
            return
        solved = admitted.checked.solved
        if not solved.hashes:
            self._settler.count_free(admitted.checked)
        if problem is problems.PRICING_UNAVAILABLE:
            return
        self._ledger.fail(self._model, admitted.checked.account, solved.ids, expires=solved.expires, now=self._clock())


def _next_turn(
    waiting: Sequence[Checked[AnyRequest, Answer]],
) -> tuple[list[Checked[AnyRequest, Answer]], list[Checked[AnyRequest, Answer]]]:
    """Return those requests that can run together, no two of which share an id, and the others."""
    taken: set[str] = set()
    turn: list[Checked[AnyRequest, Answer]] = []
    later: list[Checked[AnyRequest, Answer]] = []
    for checked in waiting:
        (turn if taken.isdisjoint(checked.solved.ids) else later).append(checked)
        taken.update(checked.solved.ids)
    return turn, later


def _use(checked: Checked[AnyRequest, Answer]) -> Use:
    solved = checked.solved
    return Use(checked.account, solved.name, solved.ids, checked.case.request.digest, solved.expires, solved.withheld)


def _refuse_open(cases: Sequence[Case[AnyRequest, Answer]], refusal: Refused) -> None:
    for case in cases:
        if case.is_open:
            case.decide(refusal)
