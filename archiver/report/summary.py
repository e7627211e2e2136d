"""The summary of a calibration that `calpow calibrate` prints."""

import shlex
from pathlib import Path

from calpow.archiver.calibration.calibration_document import Calibration
from calpow.archiver.calibration.judgement import scores_in_use
from calpow.archiver.calibration.timing.tight_loop import TightLoop
from calpow.archiver.report.formats import duration
from calpow.archiver.report.next_step import next_step
from calpow.archiver.report.verdicts import verdict
from calpow.handler.policy.calibrated_policy import PolicyName


def summarise(calibration: Calibration, file: Path) -> str:
    """Return policy, times, the verdict on a calibration in `file` and the command to run next.

    All lines but the first are indented.
    """
    policy, facts = calibration.policy, calibration.measurement.provenance
    latency, added = 1e3 * calibration.measurement.latency_seconds, 1e3 * calibration.measurement.added_seconds
    puzzle, in_python = 1e3 * policy.floor_seconds, 1e3 * float(facts["floor_seconds_in_python"])
    hashes = policy.solver.work(policy.floor_seconds)
    lines = [
        f"policy {policy.name.value} on {', '.join(scores_in_use(policy))}{_choice(calibration)}, from"
        f" {facts['samples']} samples of {policy.shape.classes} classes"
    ]
    if calibration.rehearsal.tolerated:
        lines.append(f"tolerated: {', '.join(calibration.rehearsal.tolerated)}")
    if not policy.rows.in_order:
        lines.append("the samples of a batch cannot be told apart: requests run one at a time")
    lines.append(
        f"a sample takes {latency:.2f} ms unprotected; the gate adds {added:.2f} ms and a puzzle of {puzzle:.2f} ms,"
        f" {hashes:,.0f} hashes of {facts['puzzle']}: the floor"
    )
    lines.append(_shares(calibration))
    if facts["solver"] == "fast" and in_python > puzzle:
        lines.append(f"that is with calpow[fast]; a client without it takes {in_python:.2f} ms")
    lines.append(f"{shlex.join(['calpow', 'report', str(file), '-o', 'report.html'])} shows all of it")
    return "\n  ".join([*lines, *_verdict_lines(calibration, file)])


def _shares(calibration: Calibration) -> str:
    """Return what the floor is of the unprotected time, and what a thief's tight loop pays of it."""
    latency = calibration.measurement.latency_seconds
    loop = TightLoop.of(calibration.policy, latency)
    return (
        f"the floor is {loop.floor / latency:.0%} of the unprotected time; its digests, which are all that a thief's"
        f" tight loop takes, {duration(loop.seconds)}"
    )


def _choice(calibration: Calibration) -> str:
    """Return a remark on scores that the owner did not choose."""
    if calibration.policy.name is PolicyName.paper or "scores" in calibration.measurement.provenance:
        return ""
    return " (chosen by what attackers pay)"


def _verdict_lines(calibration: Calibration, file: Path) -> list[str]:
    outcome = verdict(calibration)
    step = next_step(calibration, outcome.level, file)
    return [
        f"{outcome.headline}.",
        "  A floor is the least puzzle; 1× is the time that an answer takes without protection.",
        *(f"  {reason}" for reason in outcome.reasons),
        step.advice,
        f"  {step.command}",
    ]
