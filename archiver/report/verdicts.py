"""Verdicts on a calibration for its owner, and the numbers and words that they consist of."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from calpow.archiver.calibration.calibration_document import Band, RehearsalEvidence, Role, SimulatedProfile
from calpow.archiver.errors import ReportError

# Queries after which the report says what attackers pay.
MILESTONES = (1_000, 10_000)
# What a thief should pay, in multiples of the floor: the paper's "more than 100x for most attackers".
AIM = 100.0
PERCENTILES = 101

_UNITS = ((365.25 * 86_400, "years"), (86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))


@dataclass(frozen=True)
class Verdict:
    """Answer to a question of the owner: whether all is well, a figure to remember, and a sentence."""

    good: bool
    question: str
    figure: str
    sentence: str


def check(evidence: RehearsalEvidence) -> None:
    """Raise ReportError unless there is something to show and every profile has all its values."""
    if not honest(evidence) or not evidence.checkpoints:
        raise ReportError("the calibration holds no evidence: make it again with calpow calibrate")
    points = evidence.checkpoints
    if points[0] < 1 or any(later <= earlier for earlier, later in itertools.pairwise(points)):
        raise ReportError("the evidence's checkpoints do not rise from 1 on: make it again with calpow calibrate")
    for profile in evidence.profiles:
        if set(map(len, _values(profile))) != {len(points)} or len(profile.overhead) != PERCENTILES:
            raise ReportError(f"profile {profile.name} lacks values: make the calibration again with calpow calibrate")
        if min(*profile.work.low, *profile.work.middle, *profile.overhead) <= 0:
            raise ReportError(f"profile {profile.name} takes no time: make the calibration again with calpow calibrate")


def _values(profile: SimulatedProfile) -> tuple[tuple[float, ...], ...]:
    return tuple(row for band in (profile.score, profile.work) for row in (band.low, band.middle, band.high))


def honest(evidence: RehearsalEvidence) -> tuple[SimulatedProfile, ...]:
    """Return the profiles of legitimate users."""
    return tuple(each for each in evidence.profiles if each.role is Role.legitimate)


def attackers(evidence: RehearsalEvidence) -> tuple[SimulatedProfile, ...]:
    """Return the profiles of attackers."""
    return tuple(each for each in evidence.profiles if each.role is Role.attacker)


def metric_names(evidence: RehearsalEvidence) -> tuple[str, ...]:
    """Return the names of the scores for which an attacker's AUROC is known."""
    return tuple(dict.fromkeys(name for each in attackers(evidence) for name in each.auroc))


def milestones(evidence: RehearsalEvidence) -> tuple[int, ...]:
    """Return the MILESTONES that were simulated, or the last checkpoint if none was."""
    last = evidence.checkpoints[-1]
    return tuple(each for each in MILESTONES if each <= last) or (last,)


def dearest(evidence: RehearsalEvidence) -> SimulatedProfile:
    """Return the legitimate profile with the highest 99th percentile."""
    return max(honest(evidence), key=lambda each: each.overhead[99])


def cheapest(evidence: RehearsalEvidence, queries: int) -> SimulatedProfile:
    """Return the attacker who has paid least after `queries` queries."""
    return min(attackers(evidence), key=lambda each: multiple(evidence, each, queries))


def work_at(evidence: RehearsalEvidence, profile: SimulatedProfile, queries: float) -> float:
    """Return the median summed work after `queries` queries, in floors; linear in logarithms between checkpoints."""
    points, work = evidence.checkpoints, profile.work.middle
    after = next((index for index, point in enumerate(points) if point >= queries), len(points) - 1)
    if after == 0 or points[after] == queries:
        return work[after]
    before = after - 1
    share = math.log(queries / points[before]) / math.log(points[after] / points[before])
    return float(work[before] * (work[after] / work[before]) ** share)


def multiple(evidence: RehearsalEvidence, profile: SimulatedProfile, queries: int) -> float:
    """Return the median user's work after `queries` queries over that of as many floors."""
    return work_at(evidence, profile, queries) / queries


def envelope(bands: Sequence[Band]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the lowest low and the highest high at each checkpoint."""
    lows, highs = zip(*(band.low for band in bands), strict=True), zip(*(band.high for band in bands), strict=True)
    return tuple(map(min, lows)), tuple(map(max, highs))


def verdicts(evidence: RehearsalEvidence) -> tuple[Verdict, ...]:
    """Return the verdict on honest users, then those on attackers at the milestones."""
    found = [_honest_verdict(evidence)]
    if attackers(evidence):
        found += [_attack_verdict(evidence, queries) for queries in milestones(evidence)]
    return tuple(found)


def _honest_verdict(evidence: RehearsalEvidence) -> Verdict:
    worst = dearest(evidence)
    most, budget = worst.overhead[99], evidence.overhead_budget
    return Verdict(
        good=most <= budget,
        question="What do honest users pay?",
        figure=f"at most {times(most)}",
        sentence=f"A query takes 99 of 100 honest users of every kind at most {times(most)} its unprotected time,"
        f" against a budget of {exactly(budget)}. The dearest kind is “{worst.name}”.",
    )


def _attack_verdict(evidence: RehearsalEvidence, queries: int) -> Verdict:
    least = cheapest(evidence, queries)
    paid = multiple(evidence, least, queries)
    short = [each.name for each in attackers(evidence) if multiple(evidence, each, queries) < AIM]
    count = len(attackers(evidence))
    sentence = f"{count - len(short)} of {count} attackers pay {exactly(AIM)} the floor or more."
    if short:
        sentence += f" The cheapest is “{least.name}”."
    return Verdict(
        good=not short,
        question=f"What do attackers pay for {queries:,} queries?",
        figure=f"at least {times(paid)}",
        sentence=sentence,
    )


def times(value: float) -> str:
    """Format a measured multiple, to significant digits."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}×"


def exactly(value: float) -> str:
    """Format a multiple that was chosen, exactly."""
    return f"{value:,.6g}×"


def duration(seconds: float) -> str:
    """Format a duration in a unit of its size."""
    size, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    value = seconds / size
    text = f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
    text = text.removesuffix(".0")
    return f"{text} {unit[:-1] if text == '1' and len(unit) > 3 else unit}"
