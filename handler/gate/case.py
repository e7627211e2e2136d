"""One request on its way through the gate, and the stages that it passes.

A `Case` becomes `Presented`, then `Checked`, then `Admitted`, then `Answered`. Every step may end in a refusal instead.
"""

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, ParamSpec, TypeVar

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.gate import problems
from calpow.handler.gate.audit import AuditLine, Event, Settling
from calpow.handler.gate.challenges import Solved
from calpow.handler.gate.interface import Answer, AnyRequest, Decision, Refused, Released
from calpow.handler.ledger.account import Account, Rule
from calpow.handler.ledger.history import Charge
from calpow.handler.ledger.holders import Identity
from calpow.handler.ledger.solutions import Admission, UseResult
from calpow.handler.logs.rate_limited_log import RateLimitedLog
from calpow.puzzle.wire import SUBJECT_HEADER

log = logging.getLogger(__name__)
_failures = RateLimitedLog(log, "calpow: ")

Parameters = ParamSpec("Parameters")
Next = TypeVar("Next")

UNDECIDED = Refused(problems.PRICING_UNAVAILABLE, "the gate reached no decision")


class Case(Generic[AnyRequest, Answer]):
    """One request of a batch and the decision on it. A request without a decision counts as refused.

    account: the name of its account, once it is known. settling: its settlement, once it is written.
    subject: the name that the account's prepaid stamps have to bear, once it is known; None where they name a key.
    """

    __slots__ = ("account", "decision", "request", "settling", "subject")

    def __init__(self, request: AnyRequest) -> None:
        self.request = request
        self.account: str | None = None
        self.settling: Settling | None = None
        self.subject: str | None = None
        self.decision: Decision[Answer] = UNDECIDED

    @property
    def is_open(self) -> bool:
        """Whether there is no decision yet."""
        return self.decision is UNDECIDED

    def decide(self, decision: Decision[Answer]) -> None:
        """Make the decision, and log the private reason of a refusal beside the public one."""
        self.decision = decision if self.subject is None else _announcing(decision, self.subject)
        if isinstance(decision, Refused):
            log_refusal(decision, self.request.id)

    def audit_line(self, model: str, now: float) -> AuditLine | None:
        """Return the line of the audit; None for a request that presented no work, or of nobody.

        What is no solution presents none: its lines would cost the sender nothing, and fill the disk.
        """
        if self.account is None or not self.request.solution:
            return None
        problem = self.decision.problem.type if isinstance(self.decision, Refused) else None
        if problem == problems.MALFORMED_SOLUTION.type:
            return None
        if self.settling is not None:
            event = self.settling.event
        else:
            event = Event.uncharged if problem is None else Event.refused
        return AuditLine(now, self.request.id, model, self.account, event, self.settling, problem)

    def advance(
        self,
        step: Callable[Parameters, Next | Released[Any] | Refused],  # Any, because mypy cannot infer Next beside Answer
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Next | None:
        """Return the next stage, or None when the step ends in a decision.

        An unexpected exception of a step refuses this request alone. Raises LedgerUnavailable, which concerns all.
        """
        try:
            result = step(*args, **kwargs)
        except LedgerUnavailable:
            raise
        except Exception as error:
            self.decide(refusal_after(error, self.request.id))
            return None
        if isinstance(result, Released | Refused):
            self.decide(result)
            return None
        return result


@dataclass(frozen=True, slots=True)
class Presented(Generic[AnyRequest, Answer]):
    """A request that shows an identity and work, or the refusal of one whose work cannot be read."""

    case: Case[AnyRequest, Answer]
    identity: Identity
    work: Solved | Refused

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the work."""
        return () if isinstance(self.work, Refused) else self.work.ids


@dataclass(frozen=True, slots=True)
class Checked(Generic[AnyRequest, Answer]):
    """A request that presents enough work for its account's price, or a solution that is already spent.

    account: its name. rule: the operator's for it. state: of the account, as read last. asked: the work that was asked
        for, 0 for a spent solution.
    seen_spent: whether the solution was seen to be spent, so that neither its work nor its stamps were checked.
    """

    case: Case[AnyRequest, Answer]
    account: str
    rule: Rule
    state: Account
    solved: Solved
    asked: int
    seen_spent: bool


@dataclass(frozen=True, slots=True)
class Admitted(Generic[AnyRequest, Answer]):
    """A checked request that the ledger admitted to a pass: a fresh use, or a repeat of an answer that was given."""

    checked: Checked[AnyRequest, Answer]
    result: UseResult

    @property
    def case(self) -> Case[AnyRequest, Answer]:
        """The case that reached this stage."""
        return self.checked.case

    @property
    def is_repeat(self) -> bool:
        """Whether the solution was spent on this request before."""
        return self.result.admission is Admission.REPEAT


@dataclass(frozen=True, slots=True)
class Answered(Generic[AnyRequest, Answer]):
    """A request that the victim answered, and the effects of its samples on its account, in order."""

    admitted: Admitted[AnyRequest, Answer]
    answer: Answer
    charges: tuple[Charge, ...]

    @property
    def case(self) -> Case[AnyRequest, Answer]:
        """The case that reached this stage."""
        return self.admitted.checked.case

    @property
    def checked(self) -> Checked[AnyRequest, Answer]:
        """The stage in which the work was compared with the price."""
        return self.admitted.checked


def refusal_after(error: Exception, request_id: str = "") -> Refused:
    """Return the refusal for an unexpected exception, and log its traceback without its text, which may hold data."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    name = f"request {request_id}, " if request_id else ""
    _failures.error("a request could not be decided", f"{name}{type(error).__name__}\n{frames}")
    return Refused(problems.PRICING_UNAVAILABLE, f"unexpected {type(error).__name__}")


def _announcing(decision: Decision[Answer], subject: str) -> Decision[Answer]:
    """Return a decision that names the subject of prepaid stamps, where it states a price."""
    if isinstance(decision, Released):
        return replace(decision, subject=subject)
    problem = decision.problem
    if problem.challenge is None:
        return decision
    return replace(decision, problem=replace(problem, headers={**problem.headers, SUBJECT_HEADER: subject}))


def log_refusal(refusal: Refused, request_id: str) -> None:
    """Log the public type and the private reason of a refusal, with the server's name for the request."""
    log.debug("calpow: request %s refused with %s: %s", request_id, refusal.problem.type, refusal.reason)
