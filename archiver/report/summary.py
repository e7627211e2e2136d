"""The summary of a calibration that `calpow calibrate` prints."""

from calpow.archiver.calibration.calibration_document import Calibration
from calpow.archiver.report.verdicts import verdicts


def summarise(calibration: Calibration) -> str:
    """Return policy, times and verdicts of a calibration, one line each; all lines but the first are indented."""
    policy, facts = calibration.policy, calibration.measurement.provenance
    metrics = " and ".join(score.name.value for score in policy.scores)
    latency, added = 1e3 * calibration.measurement.latency_seconds, 1e3 * float(facts["added_seconds"])
    puzzle, in_python = 1e3 * policy.floor_seconds, 1e3 * float(facts["floor_seconds_in_python"])
    hashes = policy.solver.work(policy.floor_seconds)
    lines = [
        f"policy {policy.name.value} on {metrics}, from {facts['samples']} samples of {policy.shape.classes} classes"
    ]
    if not policy.rows.in_order:
        lines.append("the samples of a batch cannot be told apart: requests run one at a time")
    lines.append(
        f"a sample takes {latency:.2f} ms unprotected; the gate adds {added:.2f} ms and a puzzle of {puzzle:.2f} ms,"
        f" {hashes:,.0f} hashes of {facts['puzzle']}"
    )
    if facts["solver"] == "fast":
        lines.append(f"that is with calpow[fast]; a client without it takes {in_python:.2f} ms")
    for verdict in verdicts(calibration.rehearsal):
        lines.append(f"{verdict.question} {verdict.figure.capitalize()}. {verdict.sentence}")
    return "\n  ".join(lines)
