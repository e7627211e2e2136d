"""Checks that the members of a calibrated policy do not contradict each other."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from calpow.handler.errors import CalibrationError
from calpow.handler.ledger.history import SKETCH_BITS
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.evidence import Evidence, ScoreTest
from calpow.handler.policy.joint_oddness import SHARES, OddnessScale

AGAIN = "make it again with calpow calibrate"
# Integers of an account for one model: the wealth of its bets, its summed cost and its number of queries.
MOST_NUMBERS = 64
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_policy(policy: CalibratedPolicy) -> None:
    """Raise CalibrationError, which names the member, when a value is out of range or two members do not fit."""
    for fault in _faults(policy):
        raise CalibrationError(f"calibration: policy.{fault}: {AGAIN}")


def _faults(policy: CalibratedPolicy) -> Iterator[str]:
    digests = {f"parts.{name}": sha256 for name, sha256 in policy.parts.items()}
    for name, sha256 in {"victim_sha256": policy.victim_sha256, **digests}.items():
        if not _SHA256.fullmatch(sha256):
            yield f"{name} must be 64 hexadecimal digits"
    for name, value in (
        ("evidence.exponent", policy.evidence.exponent),
        ("evidence.ceiling", policy.evidence.ceiling),
        ("paper.slope", policy.paper.slope),
        ("floor_seconds", policy.floor_seconds),
        ("solver.hashes_per_second", policy.solver.hashes_per_second),
    ):
        if not value > 0:
            yield f"{name} must be more than 0, not {value}"
    for name, value, least in (
        ("cap", policy.cap, 1),
        ("paper.base", policy.paper.base, 1),
        ("solver.start_seconds", policy.solver.start_seconds, 0),
        ("shape.classes", policy.shape.classes, 2),
        ("input_range.spacing", policy.input_range.spacing, 0),
    ):
        if value < least:
            yield f"{name} must be at least {least}, not {value}"
    lengths = len(policy.input_range.low), len(policy.input_range.high)
    if lengths[0] != lengths[1] or (policy.shape.input_shape is not None and lengths[0] == 0):
        yield "input_range.low and input_range.high must have as many numbers"
    if not policy.scores:
        yield "scores must not be empty"
    for fault in _evidence_faults(policy.evidence, len(policy.scores), policy.shape.classes):
        yield f"evidence.{fault}"


def _evidence_faults(evidence: Evidence, scores: int, classes: int) -> Iterator[str]:
    if not evidence.tests:
        yield "tests must not be empty"
    yield from _share_faults("levels", evidence.levels)
    yield from _share_faults("stakes", evidence.stakes)
    if not _descends(evidence.levels):
        yield f"levels must descend, not {list(evidence.levels)}"
    if not 0 <= evidence.entry <= evidence.ceiling:
        yield f"entry must be between 0 and the ceiling, not {evidence.entry}"
    if not -1 <= evidence.likeness <= SKETCH_BITS:
        yield f"likeness must be between -1 and {SKETCH_BITS}, not {evidence.likeness}"
    if evidence.bets + 2 > MOST_NUMBERS:
        yield f"tests, levels and stakes make {evidence.bets} bets, and an account has room for {MOST_NUMBERS - 2}"
    yield from _joint_faults(evidence, scores, classes)
    for index, test in enumerate(evidence.tests):
        for fault in _test_faults(test, scores, classes, len(evidence.levels)):
            yield f"tests[{index}].{fault}"


def _share_faults(name: str, shares: Sequence[float]) -> Iterator[str]:
    if not shares:
        yield f"{name} must not be empty"
    if not all(0 < share < 1 for share in shares):
        yield f"{name} must be more than 0 and less than 1, not {list(shares)}"


def _joint_faults(evidence: Evidence, scores: int, classes: int) -> Iterator[str]:
    if not evidence.scales and any(test.score is None for test in evidence.tests):
        yield "scales must not be empty where a test is of the joint oddness"
    for index, scale in enumerate(evidence.scales):
        for fault in _scale_faults(scale, scores, classes):
            yield f"scales[{index}].{fault}"


def _scale_faults(scale: OddnessScale, scores: int, classes: int) -> Iterator[str]:
    if not 0 <= scale.score < scores:
        yield f"score is {scale.score}, and there are {scores} scores"
    if len(scale.quantiles) != classes:
        yield f"quantiles has {len(scale.quantiles)} of {classes} classes"
    for label, numbers in enumerate(scale.quantiles):
        if len(numbers) != len(SHARES):
            yield f"quantiles[{label}] has {len(numbers)} numbers instead of {len(SHARES)}"
        if not _descends(numbers[::-1], ties=True):
            yield f"quantiles[{label}] must ascend, not {list(numbers)}"


def _test_faults(test: ScoreTest, scores: int, classes: int, levels: int) -> Iterator[str]:
    if test.score is not None and not 0 <= test.score < scores:
        yield f"score is {test.score}, and there are {scores} scores"
    for name, thresholds in {"high": test.high, "low": test.low}.items():
        if len(thresholds) != classes and (thresholds or name == "high"):
            yield f"{name} has {len(thresholds)} of {classes} classes"
        for label, numbers in enumerate(thresholds):
            if len(numbers) > levels:
                yield f"{name}[{label}] has {len(numbers)} thresholds for {levels} levels"
            if not _descends(numbers if name == "low" else numbers[::-1], ties=True):
                yield f"{name}[{label}] must {'descend' if name == 'low' else 'ascend'}, not {list(numbers)}"


def _descends(numbers: Sequence[float], *, ties: bool = False) -> bool:
    return all(one > other or (ties and one == other) for one, other in pairwise(numbers))
