"""Prices of answers under a calibration, in floors and as multiples of the time that an answer takes unprotected."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import truediv

from calpow.archiver.calibration.calibration_document import (
    Band,
    Calibration,
    RehearsalEvidence,
    Role,
    SimulatedProfile,
)
from calpow.archiver.calibration.judgement import dearest
from calpow.archiver.errors import ReportError

# Numbers of queries after which a line of the report's chart says what attackers pay.
MILESTONES = (1_000, 10_000)
PERCENTILES = 101


@dataclass(frozen=True)
class Multiples:
    """Multiples of the unprotected time that an answer takes, mean over a user's queries so far.

    gate: the multiple of an answer that needs no puzzle.
    floor: what the least puzzle adds to it.
    """

    gate: float
    floor: float

    @classmethod
    def of(cls, calibration: Calibration) -> "Multiples":
        """Return the multiples of a calibration."""
        measured = calibration.measurement
        latency = measured.latency_seconds
        return cls(1 + measured.added_seconds / latency, calibration.policy.floor_seconds / latency)

    def of_work(self, work: float, queries: float) -> float:
        """Return the multiple of a user whose summed work is `work` floors after `queries` queries."""
        return self.gate + self.floor * work / queries

    def of_honest(self, evidence: RehearsalEvidence) -> float:
        """Return the multiple of the honest users who pay most, of those who send unchanged samples."""
        return self.of_work(dearest(evidence).dearest, 1)

    def over_budget(self, evidence: RehearsalEvidence) -> bool:
        """Return whether these pay more than the budget, in the digits that are shown."""
        return round(self.of_honest(evidence), 2) > evidence.overhead_budget

    def of_solving(self, floors: float) -> float:
        """Return the multiple of work alone, in floors."""
        return self.floor * floors


def check(evidence: RehearsalEvidence) -> None:
    """Raise ReportError unless there is something to show and every profile has all its values."""
    if not evidence.honest or not evidence.checkpoints:
        raise ReportError("the calibration holds no evidence: make it again with calpow calibrate")
    points = evidence.checkpoints
    if points[0] < 1 or any(later <= earlier for earlier, later in itertools.pairwise(points)):
        raise ReportError("the evidence's checkpoints do not rise from 1 on: make it again with calpow calibrate")
    for profile in evidence.profiles:
        if set(map(len, _values(profile))) != {len(points)} or len(profile.overhead) != PERCENTILES:
            raise ReportError(f"profile {profile.name} lacks values: make the calibration again with calpow calibrate")
        if profile.role is Role.attacker and profile.figures is None:
            raise ReportError(f"profile {profile.name} lacks values: make the calibration again with calpow calibrate")
        if min(*profile.work.low, *profile.work.middle, *profile.overhead) <= 0:
            raise ReportError(f"profile {profile.name} takes no time: make the calibration again with calpow calibrate")


def _values(profile: SimulatedProfile) -> tuple[tuple[float, ...], ...]:
    return tuple(row for band in (profile.score, profile.work) for row in (band.low, band.middle, band.high))


def score_labels(evidence: RehearsalEvidence) -> tuple[str, ...]:
    """Return the labels of the scores for which an attacker's AUROC is known."""
    return tuple(dict.fromkeys(name for attacker in evidence.attackers for name in attacker.auroc))


def milestones(evidence: RehearsalEvidence) -> tuple[int, ...]:
    """Return the MILESTONES that were simulated, or the last checkpoint if none was."""
    last = evidence.checkpoints[-1]
    return tuple(milestone for milestone in MILESTONES if milestone <= last) or (last,)


def work_at(evidence: RehearsalEvidence, profile: SimulatedProfile, queries: float) -> float:
    """Return the median summed work after `queries` queries, in floors; linear in logarithms between checkpoints."""
    points, work = evidence.checkpoints, profile.work.middle
    after = next((index for index, point in enumerate(points) if point >= queries), len(points) - 1)
    if after == 0 or points[after] == queries:
        return work[after]
    before = after - 1
    share = math.log(queries / points[before]) / math.log(points[after] / points[before])
    return float(work[before] * (work[after] / work[before]) ** share)


def mean_prices(evidence: RehearsalEvidence, profile: SimulatedProfile) -> Band:
    """Return what a query costs a profile's users in the mean so far, at the checkpoints, in floors."""
    rows = (profile.work.low, profile.work.middle, profile.work.high)
    return Band(*(tuple(map(truediv, row, evidence.checkpoints)) for row in rows))


def envelope(bands: Sequence[Band]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the lowest low and the highest high at each checkpoint."""
    lows, highs = zip(*(band.low for band in bands), strict=True), zip(*(band.high for band in bands), strict=True)
    return tuple(map(min, lows)), tuple(map(max, highs))
