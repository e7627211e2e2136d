"""The command to run after a calibration, with its own files."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calpow.archiver.calibration.calibration_document import Calibration, Sources
from calpow.archiver.calibration.judgement import GETS_THROUGH, getting_through, strangers
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.report.verdicts import VerdictLevel
from calpow.handler.policy.calibrated_policy import PolicyName

_ATTACK = "attack "


@dataclass(frozen=True)
class NextStep:
    """Advice to the owner of a calibration: a sentence, and a command for a shell."""

    advice: str
    command: str


@dataclass(frozen=True)
class _Remedy:
    """A change of a calibration: its reason, an option of the owner's that it drops, and others that it gives."""

    advice: str
    drops: str = ""
    gives: Mapping[str, str] = field(default_factory=dict)


def next_step(calibration: Calibration, level: VerdictLevel, file: Path) -> NextStep:
    """Return what to do after a verdict of this level on the calibration in `file`."""
    if level is VerdictLevel.weak:
        return _calibrate_again(calibration, file)
    advice = "Package it:" if level is VerdictLevel.ready else "If you accept this, package it:"
    victim = Path(calibration.measurement.sources.victim)
    words = ["archive", *_parts(calibration.measurement.sources), "--calibration", str(file)]
    return NextStep(advice, _command(*words, "--model-name", f"{victim.stem}-protected"))


def _calibrate_again(calibration: Calibration, file: Path) -> NextStep:
    sources, remedy = calibration.measurement.sources, _remedy(calibration)
    words = ["calibrate", *_parts(sources), "--data", sources.data]
    for option, value in {**_choices(calibration), **remedy.gives}.items():
        if option != remedy.drops:
            words += [option, *(value.split() if option == "--scores" else [value])]
    for name, folder in _attacks(calibration):
        words += ["--attack", f"{name}={folder}"]
    return NextStep(f"{remedy.advice}:", _command(*words, "--output", str(file)))


def _remedy(calibration: Calibration) -> _Remedy:
    """Return the change that most likely makes thieves pay more."""
    facts = calibration.measurement.provenance
    if calibration.policy.name is PolicyName.paper:
        return _Remedy("Take the policy evidence, in which thieves can hide less, and calibrate again", "--policy")
    if "scores" in facts:
        return _Remedy("Let the scores be chosen by what attackers pay, and calibrate again", "--scores")
    if calibration.measurement.sources.ensemble is None:
        return _Remedy(
            "Make teachers.pt of the training data with calpow teachers, for more scores, and calibrate again with it",
            gives={"--ensemble": "teachers.pt"},
        )
    if _tolerance_costs(calibration):
        return _Remedy("Tolerate no changes of samples, and calibrate again", gives={"--tolerate": "none"})
    return _Remedy("Give more held-out payloads, and calibrate again")


def _tolerance_costs(calibration: Calibration) -> bool:
    """Return whether an attacker gets through only because changes of samples are tolerated."""
    evidence = calibration.rehearsal
    return any(
        evidence.intolerant.get(attacker.name, 0.0) >= GETS_THROUGH for attacker in getting_through(strangers(evidence))
    )


def _parts(sources: Sources) -> list[str]:
    words = ["--victim", sources.victim]
    for option, path in (("--ensemble", sources.ensemble), ("--neighbours", sources.neighbours)):
        words += [option, path] if path is not None else []
    return words


def _choices(calibration: Calibration) -> dict[str, str]:
    """Return the options of a calibration that its owner set to other values than the default ones."""
    evidence, default = calibration.rehearsal, CalibrationOrder
    facts = calibration.measurement.provenance
    choices = {
        "--scores": (facts.get("scores", ""), ""),
        "--rdp-order": (facts.get("rdp_order", ""), ""),
        "--policy": (calibration.policy.name.value, default.policy),
        "--overhead-budget": (evidence.overhead_budget, default.budget),
        "--horizon": (evidence.horizon, default.horizon),
        "--tolerate": (facts.get("tolerate", ""), ""),
        "--cap-seconds": (facts.get("cap_seconds", ""), ""),
        "--puzzle": (facts.get("puzzle", default.puzzle), default.puzzle),
        "--reference-client": (facts.get("reference_client", ""), ""),
        "--seed": (facts.get("seed", default.seed), default.seed),
        "--part": (facts.get("part", default.part), default.part),
        "--classes": (facts.get("classes", ""), ""),
        "--from-records": (facts.get("records", ""), ""),
    }
    return {option: _word(value) for option, (value, usual) in choices.items() if value != usual}


def _word(value: str | int | float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _attacks(calibration: Calibration) -> list[tuple[str, str]]:
    facts = calibration.measurement.provenance
    return [(name.removeprefix(_ATTACK), str(folder)) for name, folder in facts.items() if name.startswith(_ATTACK)]


def _command(*words: str) -> str:
    return shlex.join(["calpow", *words])
