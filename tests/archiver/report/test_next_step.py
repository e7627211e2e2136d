"""The next command after a calibration: it can be pasted, with the real file names."""

import dataclasses
from pathlib import Path

import click
import pytest

from calpow.archiver.calibration.calibration_document import Sources
from calpow.archiver.cli.archive import archive
from calpow.archiver.cli.calibrate import calibrate
from calpow.archiver.report.next_step import NextStep, next_step
from calpow.archiver.report.verdicts import VerdictLevel
from calpow.handler.leakage.specs import ScoreName, ScoreSpec
from calpow.handler.policy.calibrated_policy import PolicyName
from tests.support.calibrations import calibration

SOURCES = Sources("my models/digits.mar", "held out", "demo/teachers.pt")


def step(level: VerdictLevel, **changes: object) -> NextStep:
    return next_step(calibration(sources=SOURCES, **changes), level, Path("demo/calibration.json"))


def test_a_calibration_that_is_ready_or_unclear_is_packaged_next() -> None:
    ready, unclear = step(VerdictLevel.ready), step(VerdictLevel.unclear)
    assert ready.command == unclear.command
    assert ready.command == (
        "calpow archive --victim 'my models/digits.mar' --ensemble demo/teachers.pt"
        " --calibration demo/calibration.json --model-name digits-protected"
    )
    assert (ready.advice, unclear.advice) == ("Package it:", "If you accept this, package it:")


def test_a_weak_one_is_made_again_with_another_metric_and_the_owners_own_choices() -> None:
    evidence = dataclasses.replace(calibration().rehearsal, overhead_budget=3.0, horizon=10_000)
    weak = step(VerdictLevel.weak, rehearsal=evidence, name=PolicyName.paper)
    assert "(entropy)" in weak.advice
    assert weak.command == (
        "calpow calibrate --victim 'my models/digits.mar' --ensemble demo/teachers.pt --data 'held out'"
        " --metric pate entropy --policy paper --overhead-budget 3 --output demo/calibration.json"
    )


def test_a_weak_one_is_made_again_with_the_options_that_say_how_its_data_are_read() -> None:
    facts = {"puzzle": "scrypt", "part": "image", "classes": "my classes.json", "records": "records.jsonl"}
    made = calibration(sources=SOURCES)
    measured = dataclasses.replace(made.measurement, provenance=facts)
    weak = next_step(dataclasses.replace(made, measurement=measured), VerdictLevel.weak, Path("c.json"))
    assert weak.command.endswith(
        " --puzzle scrypt --part image --classes 'my classes.json' --from-records records.jsonl --output c.json"
    )


def test_a_weak_one_of_all_metrics_needs_more_data() -> None:
    scores = tuple(ScoreSpec(name, {}) for name in (ScoreName.entropy, ScoreName.odin))
    standards = 2 * calibration().policy.conditional.standards
    rule = dataclasses.replace(calibration().policy.conditional, standards=standards)
    weak = step(VerdictLevel.weak, scores=scores, conditional=rule)
    assert weak.advice.startswith("Give more held-out payloads")
    assert "--metric entropy odin --horizon 10 --output" in weak.command


@pytest.mark.parametrize("command", [archive, calibrate])
def test_its_options_are_those_of_the_command(command: click.Command) -> None:
    level = VerdictLevel.ready if command.name == "archive" else VerdictLevel.weak
    words = step(level).command.split()
    assert words[:2] == ["calpow", command.name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
