"""The verdict on a calibration: whether to deploy it, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from calpow.archiver.calibration.calibration_document import Calibration, RehearsalEvidence, SimulatedProfile
from calpow.archiver.errors import ArchiveError
from calpow.archiver.report.formats import exactly, times
from calpow.archiver.report.multiples import check, dearest

# What most thieves should pay, in multiples of the unprotected time: the paper's "more than 100x for most attackers".
AIM = 100.0
# A thief gets through who pays less than this many times what the dearest honest users pay.
NEAR = 2.0


class VerdictLevel(Enum):
    """Advice of a verdict: deploy, decide for yourself, or do not deploy."""

    ready = "ready"
    unclear = "unclear"
    weak = "weak"


@dataclass(frozen=True)
class WeakAttacker:
    """An attacker who gets through, and what the median one pays, in multiples of the unprotected time."""

    name: str
    multiple: float


@dataclass(frozen=True)
class Verdict:
    """Verdict on a calibration: its headline is one clause without a full stop, its reasons are sentences.

    Multiples (2×) are of the time that an answer takes without protection.
    """

    level: VerdictLevel
    headline: str
    reasons: tuple[str, ...]
    weak_attackers: tuple[WeakAttacker, ...]


def verdict(calibration: Calibration) -> Verdict:
    """Return the verdict on a calibration.

    It is weak when half of the attackers or more get through. It is ready when none does, most pay AIM, honest users
    stay within the budget and the calibration gave no warning. Raises ReportError when its evidence is incomplete.
    """
    evidence = calibration.rehearsal
    check(evidence)
    through, count = weak_attackers(evidence), len(evidence.attackers)
    reasons = (_honest_reason(evidence), _attack_reason(evidence, through), *evidence.warnings)
    concerns = _concerns(evidence, through)
    if through and 2 * len(through) >= count:
        effect = "it keeps nobody off" if len(through) == count else concerns[0]
        return Verdict(VerdictLevel.weak, f"Do not deploy: {effect}", reasons, through)
    if concerns:
        return Verdict(VerdictLevel.unclear, f"Look closer: {', and '.join(concerns[:2])}", reasons, through)
    paid, most = min(map(_paid, evidence.attackers)), dearest(evidence).overhead[99]
    headline = f"Ready: honest users pay at most {times(most)}, attackers {times(paid)} or more"
    return Verdict(VerdictLevel.ready, headline, reasons, through)


def refuse_weak(calibration: Calibration, file: Path) -> None:
    """Raise ArchiveError when the verdict on the calibration in `file` is weak."""
    outcome = verdict(calibration)
    if outcome.level is not VerdictLevel.weak:
        return
    names = ", ".join(f"{weak.name} {times(weak.multiple)}" for weak in outcome.weak_attackers)
    raise ArchiveError(
        f"{file}: {outcome.headline}: in multiples of the unprotected time, a query costs {names}; calibrate with other"
        " metrics or more data, or give --accept-weak"
    )


def weak_attackers(evidence: RehearsalEvidence) -> tuple[WeakAttacker, ...]:
    """Return the attackers who get through, the cheapest first."""
    limit = NEAR * dearest(evidence).overhead[99]
    found = [WeakAttacker(attacker.name, _paid(attacker)) for attacker in evidence.attackers]
    return tuple(sorted((weak for weak in found if weak.multiple < limit), key=lambda weak: weak.multiple))


def _paid(attacker: SimulatedProfile) -> float:
    return attacker.overhead[50]


def _concerns(evidence: RehearsalEvidence, through: Sequence[WeakAttacker]) -> list[str]:
    """Return what speaks against deploying, as clauses, the gravest first."""
    count, most = len(evidence.attackers), dearest(evidence).overhead[99]
    short = sum(_paid(attacker) < AIM for attacker in evidence.attackers)
    concerns = []
    if not count:
        concerns.append("no attacker was simulated")
    if through:
        concerns.append(f"{len(through)} of {count} attackers {'gets' if len(through) == 1 else 'get'} through")
    elif 2 * short > count:
        concerns.append(f"{short} of {count} attackers pay less than {exactly(AIM)}")
    if most > evidence.overhead_budget:
        concerns.append(f"honest users pay {times(most)}, more than the budget")
    if evidence.warnings and not concerns:
        concerns.append("the calibration gave warnings")
    return concerns


def _honest_reason(evidence: RehearsalEvidence) -> str:
    worst, budget = dearest(evidence), evidence.overhead_budget
    return (
        f"Honest users: 99 of 100 of every kind pay at most {times(worst.overhead[99])}; the budget is"
        f" {exactly(budget)}. The dearest kind is “{worst.name}”."
    )


def _attack_reason(evidence: RehearsalEvidence, through: Sequence[WeakAttacker]) -> str:
    if not evidence.attackers:
        return "Attackers: none was simulated."
    count = len(evidence.attackers)
    enough = sum(_paid(attacker) >= AIM for attacker in evidence.attackers)
    reason = f"Attackers: {enough} of {count} pay {exactly(AIM)} or more."
    if through:
        names = ", ".join(f"“{weak.name}” ({times(weak.multiple)})" for weak in through)
        return f"{reason} These pay less than twice what the dearest honest users do, and get through: {names}."
    cheapest = min(evidence.attackers, key=_paid)
    return f"{reason} The cheapest is “{cheapest.name}” ({times(_paid(cheapest))})."
