"""The verdict on a calibration: whether to deploy it, in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from calpow.archiver.calibration.calibration_document import (
    Calibration,
    RehearsalEvidence,
    SimulatedProfile,
    ThiefFigures,
)
from calpow.archiver.calibration.judgement import (
    AIM,
    GETS_THROUGH,
    changers,
    dearest,
    getting_through,
    short_of_aim,
    strangers,
    theft,
)
from calpow.archiver.errors import ArchiveError
from calpow.archiver.report.formats import exactly, floors, number, times
from calpow.archiver.report.multiples import Multiples, check
from calpow.handler.policy.calibrated_policy import PolicyName


class VerdictLevel(Enum):
    """Advice of a verdict: deploy, decide for yourself, or do not deploy."""

    ready = "ready"
    unclear = "unclear"
    weak = "weak"


@dataclass(frozen=True)
class WeakAttacker:
    """An attacker with data of his own who gets through, and what he pays for a stolen answer, in floors."""

    name: str
    floors: float


@dataclass(frozen=True)
class Verdict:
    """Verdict on a calibration: its headline is one clause without a full stop, its reasons are sentences.

    Prices are in floors; multiples (2×) are of the time that an answer takes without protection.
    """

    level: VerdictLevel
    headline: str
    reasons: tuple[str, ...]
    weak_attackers: tuple[WeakAttacker, ...]


def verdict(calibration: Calibration) -> Verdict:
    """Return the verdict on a calibration, from what thieves pay for a stolen answer at their best duty cycle.

    It is weak when half of the attackers with data of their own or more get through. It is ready when all of these pay
    AIM or more, no more than half of the attackers who change genuine samples get through, honest users stay within
    the budget and the calibration gave no warning. Raises ReportError when its evidence is incomplete.
    """
    evidence = calibration.rehearsal
    check(evidence)
    multiples = Multiples.of(calibration)
    judged = strangers(evidence)
    through = getting_through(judged)
    weak = tuple(WeakAttacker(attacker.name, theft(attacker)) for attacker in through)
    reasons = (*_honest_reasons(evidence, multiples), *_attack_reasons(evidence, multiples), *evidence.warnings)
    concerns = _concerns(evidence, multiples)
    if through and 2 * len(through) >= len(judged):
        effect = "it keeps nobody off" if len(through) == len(judged) else concerns[0]
        return Verdict(VerdictLevel.weak, f"Do not deploy: {effect}", reasons, weak)
    if concerns:
        return Verdict(VerdictLevel.unclear, f"Look closer: {', and '.join(concerns[:2])}", reasons, weak)
    paid, most = min(map(theft, judged)), dearest(evidence).dearest
    headline = f"Ready: honest users pay at most {floors(most)} an answer, thieves {number(paid)} or more"
    return Verdict(VerdictLevel.ready, headline, reasons, weak)


def refuse_weak(calibration: Calibration, file: Path) -> None:
    """Raise ArchiveError when the verdict on the calibration in `file` is weak."""
    outcome = verdict(calibration)
    if outcome.level is not VerdictLevel.weak:
        return
    names = ", ".join(f"{weak.name} {number(weak.floors)}" for weak in outcome.weak_attackers)
    by_paper = calibration.policy.name is PolicyName.paper
    remedy = f"calibrate with {'--policy evidence' if by_paper else 'other scores or more data'}"
    raise ArchiveError(
        f"{file}: {outcome.headline}: in floors, which honest users pay for every answer, a stolen answer costs"
        f" {names}; {remedy}, or give --accept-weak"
    )


def _concerns(evidence: RehearsalEvidence, multiples: Multiples) -> list[str]:
    """Return what speaks against deploying, as clauses, the gravest first."""
    judged, others = strangers(evidence), changers(evidence)
    through, short = getting_through(judged), short_of_aim(judged)
    changing = getting_through(others)
    concerns = []
    if not judged:
        concerns.append("no attacker was simulated")
    cheapest = multiples.of_solving(min(map(theft, judged), default=math.inf))
    if through:
        concerns.append(f"{_share(through, judged)} {'gets' if len(through) == 1 else 'get'} through")
    elif cheapest < 1:
        concerns.append(f"the work for a stolen answer takes only {times(cheapest)} the time of an unprotected one")
    elif short:
        verb = "pays" if len(short) == 1 else "pay"
        concerns.append(f"{_share(short, judged)} {verb} less than {AIM:g} floors for a stolen answer")
    if multiples.over_budget(evidence):
        concerns.append(f"honest users pay {times(multiples.of_honest(evidence))}, more than the budget")
    if 2 * len(changing) > len(others):
        concerns.append(f"{len(changing)} of {len(others)} who change genuine samples get through")
    if evidence.warnings and not concerns:
        concerns.append("the calibration gave warnings")
    return concerns


def _share(some: Sequence[SimulatedProfile], every: Sequence[SimulatedProfile]) -> str:
    return f"{len(some)} of {len(every)} attackers"


def _honest_reasons(evidence: RehearsalEvidence, multiples: Multiples) -> list[str]:
    worst = dearest(evidence)
    reasons = [
        f"Honest users: 99 of 100 of every class mix pay at most {floors(worst.dearest)} an answer, which then takes"
        f" {times(multiples.of_honest(evidence))} its time; the budget is {exactly(evidence.overhead_budget)}."
        f" The dearest kind is “{worst.name}”."
    ]
    changed = [profile for profile in evidence.honest if profile.kind]
    if changed:
        most = max(changed, key=lambda profile: profile.dearest)
        reasons.append(
            f"Tolerated changes: users who send such samples only pay at most {floors(most.dearest)} an answer"
            f" (“{most.name}”)."
        )
    return reasons


def _attack_reasons(evidence: RehearsalEvidence, multiples: Multiples) -> list[str]:
    judged, others = strangers(evidence), changers(evidence)
    if not judged:
        return ["Attackers: none was simulated."]
    reasons = [f"{_kind(judged)}: {_cheapest(judged, multiples)} {_standing(judged)}", _accounts(judged)]
    if others:
        through = getting_through(others)
        reason = f"Attackers who change genuine samples, which they must have: {_cheapest(others)}"
        reasons.append(f"{reason} These get through: {_names(through)}." if through else reason)
    return reasons


def _kind(judged: Sequence[SimulatedProfile]) -> str:
    return "Attackers with data of their own" if judged[0].own_data else "Attackers"


def _cheapest(attackers: Sequence[SimulatedProfile], multiples: Multiples | None = None) -> str:
    """Return a sentence on the attacker who pays least for a stolen answer."""
    cheapest = min(attackers, key=theft)
    fillers = _figures(cheapest).fillers
    paid = floors(theft(cheapest))
    if multiples is not None:
        paid += f" ({times(multiples.of_solving(theft(cheapest)))})"
    answers = "genuine answer" if fillers == 1 else "genuine answers"
    cycle = f", with {fillers} {answers} for each to hide it" if fillers else ""
    return f"the cheapest, “{cheapest.name}”, pays {paid} for a stolen answer{cycle}."


def _standing(judged: Sequence[SimulatedProfile]) -> str:
    """Return a sentence on how many attackers pay the aim, and who gets through."""
    through, short = getting_through(judged), short_of_aim(judged)
    enough = len(judged) - len(short)
    sentence = f"{enough} of {len(judged)} pay {AIM:g} floors or more."
    if not through:
        return sentence
    return f"{sentence} These pay less than {GETS_THROUGH:g}, and get through: {_names(through)}."


def _accounts(judged: Sequence[SimulatedProfile]) -> str:
    five = min(_figures(attacker).five for attacker in judged)
    free = max(_figures(attacker).free for attacker in judged)
    had = "none" if free < 0.5 else f"{free:.0f} at most"
    return (
        f"On accounts that are given up after five queries, a stolen answer costs {floors(five)} or more; after an"
        f" honest past, {had} can be had before the first that costs more than two floors."
    )


def _names(attackers: Sequence[SimulatedProfile]) -> str:
    return ", ".join(f"“{attacker.name}” ({number(theft(attacker))})" for attacker in attackers)


def _figures(attacker: SimulatedProfile) -> ThiefFigures:
    assert attacker.figures is not None
    return attacker.figures
