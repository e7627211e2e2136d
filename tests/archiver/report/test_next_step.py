"""The next command after a calibration: it can be pasted, with the real file names."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from calpow.archiver.calibration.calibration_document import Calibration, Sources
from calpow.archiver.cli.archive import archive
from calpow.archiver.cli.calibrate import calibrate
from calpow.archiver.report.next_step import NextStep, next_step
from calpow.archiver.report.verdicts import VerdictLevel
from calpow.handler.policy.calibrated_policy import PolicyName
from tests.support.calibrations import calibration

SOURCES = Sources("my models/digits.mar", "held out", "demo/teachers.pt")
AGAIN = "calpow calibrate --victim 'my models/digits.mar' --ensemble demo/teachers.pt --data 'held out'"


def step(level: VerdictLevel, **changes: object) -> NextStep:
    return next_step(calibration(**{"sources": SOURCES, **changes}), level, Path("demo/calibration.json"))


def weak(facts: Mapping[str, str | int | float], sources: Sources = SOURCES, intolerant: float = 0.0) -> NextStep:
    """Return the step after a weak calibration whose attacker would pay `intolerant` if nothing were tolerated."""
    evidence = calibration().rehearsal
    honest, thief = evidence.profiles
    assert thief.figures
    cheap = dataclasses.replace(thief, figures=dataclasses.replace(thief.figures, theft=2.0))
    saved: Calibration = calibration(
        sources=sources,
        provenance=facts,
        rehearsal=dataclasses.replace(
            evidence, profiles=(honest, cheap), horizon=10_000, intolerant={thief.name: intolerant}
        ),
    )
    return next_step(saved, VerdictLevel.weak, Path("c.json"))


def test_a_calibration_that_is_ready_or_unclear_is_packaged_next() -> None:
    ready, unclear = step(VerdictLevel.ready), step(VerdictLevel.unclear)
    assert ready.command == unclear.command
    assert ready.command == (
        "calpow archive --victim 'my models/digits.mar' --ensemble demo/teachers.pt"
        " --calibration demo/calibration.json --model-name digits-protected"
    )
    assert (ready.advice, unclear.advice) == ("Package it:", "If you accept this, package it:")


def test_a_weak_one_under_the_papers_policy_is_made_again_under_the_default_one() -> None:
    evidence = dataclasses.replace(calibration().rehearsal, overhead_budget=3.0, horizon=10_000)
    again = step(VerdictLevel.weak, rehearsal=evidence, name=PolicyName.paper)
    assert again.advice.startswith("Take the policy evidence")
    assert again.command == f"{AGAIN} --overhead-budget 3 --output demo/calibration.json"


def test_a_weak_one_of_given_scores_is_made_again_with_chosen_ones() -> None:
    again = weak({"scores": "energy norm", "seed": 3})
    assert again.advice.startswith("Let the scores be chosen")
    assert again.command == f"{AGAIN} --seed 3 --output c.json"


def test_a_weak_one_without_teachers_is_made_again_with_them() -> None:
    again = weak({}, Sources("v.mar", "data"))
    assert again.advice.startswith("Make teachers.pt of the training data with calpow teachers")
    assert again.command == "calpow calibrate --victim v.mar --data data --ensemble teachers.pt --output c.json"


def test_a_weak_one_that_tolerance_makes_weak_is_made_again_without() -> None:
    again = weak({"tolerate": "noise,flip", "cap_seconds": 30.0}, intolerant=30.0)
    assert again.advice == "Tolerate no changes of samples, and calibrate again:"
    assert again.command == f"{AGAIN} --tolerate none --cap-seconds 30 --output c.json"
    assert "--tolerate" not in weak({}, intolerant=3.0).command


def test_any_other_weak_one_needs_more_data() -> None:
    assert weak({}).advice == "Give more held-out payloads, and calibrate again:"
    assert weak({}).command == f"{AGAIN} --output c.json"


def test_every_option_that_the_owner_gave_is_kept() -> None:
    facts: dict[str, str | int | float] = {
        "puzzle": "scrypt",
        "part": "image",
        "classes": "my classes.json",
        "records": "records.jsonl",
        "rdp_order": 20.0,
        "tolerate": "noise,flip",
        "cap_seconds": 12.5,
        "reference_client": "python",
        "seed": 7,
        "attack house numbers": "more/house numbers",
    }
    assert weak(facts).command == (
        f"{AGAIN} --rdp-order 20 --tolerate noise,flip --cap-seconds 12.5 --puzzle scrypt --reference-client python"
        " --seed 7 --part image --classes 'my classes.json' --from-records records.jsonl"
        " --attack 'house numbers=more/house numbers' --output c.json"
    )


def test_given_scores_are_one_option_of_several_names() -> None:
    saved = calibration(sources=SOURCES, provenance={"scores": "energy norm"}, name=PolicyName.paper)
    again = next_step(saved, VerdictLevel.weak, Path("c.json"))
    assert again.command == f"{AGAIN} --scores energy norm --horizon 10 --output c.json"


@pytest.mark.parametrize("command", [archive, calibrate])
def test_its_options_are_those_of_the_command(command: click.Command) -> None:
    level = VerdictLevel.ready if command.name == "archive" else VerdictLevel.weak
    words = step(level).command.split()
    assert words[:2] == ["calpow", command.name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
