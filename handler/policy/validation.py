"""Checks that the members of a calibrated policy do not contradict each other."""

import re
from collections.abc import Iterator

from calpow.handler.errors import CalibrationError
from calpow.handler.policy.calibrated_policy import CalibratedPolicy

AGAIN = "make it again with calpow calibrate"
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
    for name, value in _positive(policy).items():
        if not value > 0:
            yield f"{name} must be more than 0, not {value}"
    for name, value, least in (
        ("cap", policy.cap, 1),
        ("paper.base", policy.paper.base, 1),
        ("bounds.base", policy.bounds.base, 1),
        ("solver.start_seconds", policy.solver.start_seconds, 0),
    ):
        if value < least:
            yield f"{name} must be at least {least}, not {value}"
    lengths = len(policy.input_range.low), len(policy.input_range.high)
    if lengths[0] != lengths[1] or (policy.shape.input_shape is not None and lengths[0] == 0):
        yield "input_range.low and input_range.high must have as many numbers"
    yield from _class_faults(policy)


def _positive(policy: CalibratedPolicy) -> dict[str, float]:
    rule = policy.conditional
    return {
        "conditional.deviation": rule.deviation,
        "conditional.spread": rule.spread,
        "conditional.burst": rule.burst,
        "conditional.threshold": rule.threshold,
        "conditional.growth": rule.growth,
        "paper.slope": policy.paper.slope,
        "floor_seconds": policy.floor_seconds,
        "solver.hashes_per_second": policy.solver.hashes_per_second,
    }


def _class_faults(policy: CalibratedPolicy) -> Iterator[str]:
    """Yield what is wrong with the lists that have an entry a class or a score."""
    rule, classes = policy.conditional, policy.shape.classes
    if classes < 2:
        yield f"shape.classes must be at least 2, not {classes}"
    if not 1 <= len(policy.scores) == len(rule.standards):
        yield f"conditional.standards has {len(rule.standards)} entries for {len(policy.scores)} scores"
    lists = {"class_floors": rule.class_floors, "class_means": rule.class_means}
    for index, standard in enumerate(rule.standards):
        lists |= {
            f"standards[{index}].means": standard.means,
            f"standards[{index}].deviations": standard.deviations,
        }
        if min(standard.deviations, default=1.0) <= 0:
            yield f"conditional.standards[{index}].deviations must be more than 0"
    for name, values in lists.items():
        if len(values) != classes:
            yield f"conditional.{name} has {len(values)} of {classes} classes"
