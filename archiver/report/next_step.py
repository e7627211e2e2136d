"""The command to run after a calibration, with its own files."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from calpow.archiver.calibration.calibration_document import Calibration, Sources
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.report.verdicts import VerdictLevel

# Metrics that need no file, in the order in which to try them beside others.
OTHER_METRICS = ("entropy", "odin")


@dataclass(frozen=True)
class NextStep:
    """Advice to the owner of a calibration: a sentence, and a command for a shell."""

    advice: str
    command: str


def next_step(calibration: Calibration, level: VerdictLevel, file: Path) -> NextStep:
    """Return what to do after a verdict of this level on the calibration in `file`."""
    if level is VerdictLevel.weak:
        return _calibrate_again(calibration, file)
    advice = "Package it:" if level is VerdictLevel.ready else "If you accept this, package it:"
    victim = Path(calibration.measurement.sources.victim)
    words = ["archive", *_parts(calibration.measurement.sources), "--calibration", str(file)]
    return NextStep(advice, _command(*words, "--model-name", f"{victim.stem}-protected"))


def _calibrate_again(calibration: Calibration, file: Path) -> NextStep:
    sources = calibration.measurement.sources
    metrics = [score.name.value for score in calibration.policy.scores]
    others = [name for name in OTHER_METRICS if name not in metrics]
    advice = "Give more held-out payloads, and calibrate again:"
    if others:
        advice = f"Look at queries by another metric, too ({others[0]}), and calibrate again:"
    words = ["calibrate", *_parts(sources), "--data", sources.data, "--metric", *metrics, *others[:1]]
    return NextStep(advice, _command(*words, *_choices(calibration), "--output", str(file)))


def _parts(sources: Sources) -> list[str]:
    words = ["--victim", sources.victim]
    for option, path in (("--ensemble", sources.ensemble), ("--neighbours", sources.neighbours)):
        words += [option, path] if path is not None else []
    return words


def _choices(calibration: Calibration) -> list[str]:
    """Return the options of a calibration that its owner set to other values than the default ones."""
    evidence, default = calibration.rehearsal, CalibrationOrder
    facts = calibration.measurement.provenance
    words = []
    for option, value, usual in (
        ("--policy", calibration.policy.name.value, default.policy),
        ("--overhead-budget", f"{evidence.overhead_budget:g}", f"{default.budget:g}"),
        ("--horizon", str(evidence.horizon), str(default.horizon)),
        ("--puzzle", str(facts.get("puzzle", default.puzzle)), default.puzzle),
        ("--part", str(facts.get("part", default.part)), default.part),
        ("--classes", str(facts.get("classes", "")), ""),
        ("--from-records", str(facts.get("records", "")), ""),
    ):
        words += [option, value] if value != usual else []
    return words


def _command(*words: str) -> str:
    return shlex.join(["calpow", *words])
