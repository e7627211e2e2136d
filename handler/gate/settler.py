"""Settlement of the answers of a batch, just before they leave."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.gate import problems
from calpow.handler.gate.audit import Settling
from calpow.handler.gate.case import Answered, Checked
from calpow.handler.gate.challenges import LONGEST_EXPIRY_SECONDS, REMEMBERED_SECONDS
from calpow.handler.gate.interface import Allowance, Answer, AnyRequest, Decision, Refused, Released
from calpow.handler.gate.refusals import Refusals
from calpow.handler.gate.settling import Settled, settle, settle_rest
from calpow.handler.ledger.account import Account
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import day_of
from calpow.handler.ledger.settlement import PlannedStates, Settlement, Spending, settlement_of
from calpow.handler.ledger.solutions import RETRY_SECONDS, Outcome
from calpow.handler.metrics.tally import (
    ABOVE_FLOOR,
    CONFLICTS,
    LEDGER_ERRORS,
    PAID,
    PRICED,
    SAMPLES,
    WITHHELD,
    Tally,
)
from calpow.handler.policy.tariff import Tariff

log = logging.getLogger(__name__)

# Attempts to settle an account that other workers keep changing. Every conflict is an answer that another one settled.
# Decision 0003.
MOST_CONFLICTS = 16
# The longest nap after a first conflict, and how often a further one doubles it. A group has more workers that wait for
# it than an account: with naps of 4 ms, one in 200 of a group's answers met eight conflicts at eight busy workers.
# Decision 0058.
NAP_SECONDS, GROUP_NAP_SECONDS = 0.004, 0.02
MOST_DOUBLINGS = 5


@dataclass(frozen=True, slots=True)
class Unsettled(Generic[AnyRequest, Answer]):
    """Answers of one account that await settlement, and the account's state as read last."""

    account: str
    state: Account
    answers: Sequence[Answered[AnyRequest, Answer]]


@dataclass(frozen=True, slots=True)
class Plan(Generic[AnyRequest, Answer]):
    """Settlement of those answers that can be settled, with `settlement.spendings` in their order.

    `after` is the state of the account, and of its group, that the settlement leads to.
    """

    group: Unsettled[AnyRequest, Answer]
    answers: Sequence[Answered[AnyRequest, Answer]]
    after: Account
    settlement: Settlement


class Settler:
    """Charges accounts for answers, spends the solutions that paid for them, and decides which answers may leave."""

    def __init__(
        self,
        model: str,
        ledger: Ledger,
        tariff: Tariff,
        refusals: Refusals,
        allowance: Allowance,
        tally: Tally,
        clock: Callable[[], float],
    ) -> None:
        self._model = model
        self._ledger = ledger
        self._tariff = tariff
        self._refusals = refusals
        self._allowance = allowance
        self._tally = tally
        self._clock = clock

    def settle(self, answers: Sequence[Answered[AnyRequest, Answer]]) -> None:
        """Decide on all answers, with one write of the ledger unless accounts change meanwhile.

        An account that changed is read and settled again, up to MOST_CONFLICTS times in all; then its answers are
        refused, and nothing is charged. Raises LedgerUnavailable.
        """
        unsettled = _by_account(answers)
        for attempt in range(MOST_CONFLICTS):
            if attempt:
                time.sleep(_nap(unsettled, attempt))
                unsettled = [self._read_again(group) for group in unsettled]
            unsettled = self._settle_once(unsettled)
            if not unsettled:
                return
        log.error("calpow: an account changed %d times while its answers were settled: refusing", MOST_CONFLICTS)
        for group in unsettled:
            reason = f"account {group.account} changed {MOST_CONFLICTS} times during settlement"
            for answered in group.answers:
                answered.case.decide(Refused(problems.LEDGER_UNAVAILABLE, reason))

    def count_free(self, checked: Checked[AnyRequest, Answer]) -> None:
        """Count the samples of a request that paid nothing and whose pass failed. Raises LedgerUnavailable."""
        account, samples = checked.account, checked.case.request.samples
        for _ in range(MOST_CONFLICTS):
            state = self._ledger.account(self._model, account).on(day_of(self._clock()))
            change = settlement_of(account, state, state.counted(samples))
            if self._ledger.settle(self._model, [change], now=self._clock()) == [True]:
                return

    def _settle_once(self, unsettled: Iterable[Unsettled[AnyRequest, Answer]]) -> list[Unsettled[AnyRequest, Answer]]:
        """Settle accounts that have not changed since they were read; return the others."""
        planned = PlannedStates()
        plans = [plan for group in unsettled if (plan := self._plan(group, planned)).answers]
        if not plans:
            return []
        try:
            written = self._ledger.settle(self._model, [plan.settlement for plan in plans], now=self._clock())
        except LedgerUnavailable:
            for plan in plans:
                _doubt(plan)
            raise
        changed = []
        for plan, is_written in zip(plans, written, strict=True):
            if is_written:
                self._conclude(plan)
            else:
                self._tally.add(CONFLICTS)
                changed.append(Unsettled(plan.group.account, plan.group.state, plan.answers))
        return changed

    def _read_again(self, group: Unsettled[AnyRequest, Answer]) -> Unsettled[AnyRequest, Answer]:
        """Read an account anew, and decide on those requests whose solution another use has spent meanwhile."""
        ids = [name for answered in group.answers for name in answered.checked.solved.ids]
        standing = self._ledger.standing(self._model, group.account, ids)
        state = standing.account.on(day_of(self._clock()))
        remaining = []
        for answered in group.answers:
            outcome = next(
                (standing.outcomes[name] for name in answered.checked.solved.ids if name in standing.outcomes), None
            )
            if outcome is None:
                remaining.append(answered)
            else:
                answered.case.advance(self._overtaken, answered, state, outcome)
        return Unsettled(group.account, state, remaining)

    def _overtaken(self, answered: Answered[AnyRequest, Answer], state: Account, outcome: Outcome) -> Decision[Answer]:
        """Decide after another use of an id was settled first: the same request has the same outcome."""
        checked = answered.checked
        request, account, solved = checked.case.request, checked.account, checked.solved
        if (outcome.solution, outcome.digest) != (solved.name, request.digest):
            spent = Refused(problems.CHALLENGE_SPENT, "another request spent the solution while the victim ran")
            return self._refusals.with_challenge(spent, request, account, state, solved)
        if outcome.rest:
            return self._refusals.for_withheld(account, state, outcome)
        return Released(answered.answer, self._tariff.announced(state))

    def _plan(self, group: Unsettled[AnyRequest, Answer], states: PlannedStates) -> Plan[AnyRequest, Answer]:
        """Settle one account's answers one after another, on its state as read or as planned."""
        before, now = states.latest(group.account, group.state), self._clock()
        state = before
        planned: list[Answered[AnyRequest, Answer]] = []
        spendings: list[Spending] = []
        for answered in group.answers:
            settled = answered.case.advance(self._settled, answered, state)
            if settled is not None:
                state = settled.account
                planned.append(answered)
                spendings.append(_spending(answered, settled, now))
        if planned:
            states.plan(group.account, state)
        return Plan(group, planned, state, settlement_of(group.account, before, state, spendings))

    def _settled(self, answered: Answered[AnyRequest, Answer], state: Account) -> Settled | Refused:
        """Settle an answer, unless the budget is used up meanwhile, or it holds more samples than could be counted."""
        checked, withheld = answered.checked, answered.admitted.result.withheld
        exhausted = self._refusals.exhausted(checked.account, state, len(answered.charges), checked.solved)
        if exhausted is not None:
            if not checked.solved.hashes:
                self.count_free(checked)
            return exhausted
        if withheld is not None:
            return settle_rest(self._tariff, state, answered.charges, withheld, checked.solved.hashes)
        factor = self._allowance.price_factor(checked.case.request.purpose)
        return settle(self._tariff, state, answered.charges, checked.solved.hashes, checked.asked, factor)

    def _conclude(self, plan: Plan[AnyRequest, Answer]) -> None:
        """Decide on answers whose settlement was written.

        A ledger that fails from now on delays withheld answers only; a retry receives their challenges.
        """
        for answered, spending in zip(plan.answers, plan.settlement.spendings, strict=True):
            self._count(answered, spending.outcome)
            answered.case.advance(self._decision, answered, plan.after, spending.outcome)

    def _count(self, answered: Answered[AnyRequest, Answer], outcome: Outcome) -> None:
        """Count the work of an answer; its price, once, when its samples are priced."""
        self._tally.add(PAID, answered.checked.solved.hashes)
        answered.case.settling = settling = _settling(answered, outcome)
        if settling.pays_rest:
            return
        samples = settling.samples
        self._tally.add(SAMPLES, samples)
        self._tally.add(PRICED, outcome.price)
        if outcome.price > samples * self._tariff.floor * self._allowance.price_factor(answered.case.request.purpose):
            self._tally.add(ABOVE_FLOOR)
        if outcome.rest:
            self._tally.add(WITHHELD)

    def _decision(self, answered: Answered[AnyRequest, Answer], state: Account, outcome: Outcome) -> Decision[Answer]:
        if not outcome.rest:
            return Released(answered.answer, self._tariff.announced(state))
        account = answered.checked.account
        try:
            return self._refusals.for_withheld(account, state, outcome)
        except LedgerUnavailable as error:
            log.error("calpow: ledger unavailable, no challenge for a withheld answer: %s", error)
            self._tally.add(LEDGER_ERRORS)
            return Refused(problems.LEDGER_UNAVAILABLE, f"account {account}: answer withheld, challenge not signed")


def _nap(unsettled: Sequence[Unsettled[AnyRequest, Answer]], conflicts: int) -> float:
    """Return how many seconds to wait after so many conflicts, at random."""
    shared = any(group.state.group is not None for group in unsettled)
    longest = (GROUP_NAP_SECONDS if shared else NAP_SECONDS) * 2 ** min(conflicts - 1, MOST_DOUBLINGS)
    return random.uniform(0, longest)  # noqa: S311


def _settling(answered: Answered[AnyRequest, Answer], outcome: Outcome) -> Settling:
    pays_rest = answered.admitted.result.withheld is not None
    return Settling(len(answered.charges), outcome.price, outcome.work, outcome.rest, pays_rest)


def _doubt(plan: Plan[AnyRequest, Answer]) -> None:
    """Note for the audit that a ledger which failed may have written a settlement: a reply may be lost."""
    for answered, spending in zip(plan.answers, plan.settlement.spendings, strict=True):
        answered.case.settling = _settling(answered, spending.outcome)._replace(is_doubtful=True)


def _by_account(answers: Iterable[Answered[AnyRequest, Answer]]) -> list[Unsettled[AnyRequest, Answer]]:
    groups: dict[str, list[Answered[AnyRequest, Answer]]] = {}
    for answered in answers:
        groups.setdefault(answered.checked.account, []).append(answered)
    return [Unsettled(account, group[0].checked.state, group) for account, group in groups.items()]


def _spending(answered: Answered[AnyRequest, Answer], settled: Settled, now: float) -> Spending:
    solved = answered.checked.solved
    outcome = Outcome(
        solved.name, answered.case.request.digest, now, settled.price, settled.work, settled.rest, settled.credit
    )
    # A retry of a withheld answer still receives a challenge for the rest for RETRY_SECONDS. It has the longest expiry
    # to be solved, and so has the challenge that adds to a solution of too little work.
    kept = now + RETRY_SECONDS + REMEMBERED_SECONDS + (2 * LONGEST_EXPIRY_SECONDS if settled.rest else 0.0)
    return Spending(solved.ids, outcome, max(solved.expires, kept))
