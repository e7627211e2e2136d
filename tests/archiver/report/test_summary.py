"""The summary that `calpow calibrate` prints: it ends with the verdict and the next command."""

import dataclasses
from pathlib import Path

from calpow.archiver.report.next_step import next_step
from calpow.archiver.report.summary import summarise
from calpow.archiver.report.verdicts import verdict
from calpow.handler.policy.calibrated_policy import PolicyName
from calpow.handler.policy.solver_fit import SolverFit
from tests.support.calibrations import calibration

FILE = Path("demo/calibration.json")
FACTS: dict[str, str | int | float] = {
    "samples": 1_800,
    "puzzle": "hashcash-sha1",
    "solver": "fast",
    "floor_seconds_in_python": 0.0123,
}


def test_the_summary_ends_with_the_words_of_the_verdict_and_the_command_to_run_next() -> None:
    saved = calibration(provenance=FACTS)
    outcome = verdict(saved)
    step = next_step(saved, outcome.level, FILE)
    lines = summarise(saved, FILE).splitlines()
    assert [line.strip() for line in lines[-len(outcome.reasons) - 4 :]] == [
        f"{outcome.headline}.",
        "A floor is the least puzzle; 1× is the time that an answer takes without protection.",
        *outcome.reasons,
        step.advice,
        step.command,
    ]
    assert "  calpow report demo/calibration.json -o report.html shows all of it" in lines


def test_the_summary_names_the_scores_in_use_and_what_is_tolerated() -> None:
    saved = calibration(provenance=FACTS)
    assert summarise(saved, FILE).startswith(
        "policy evidence on pate (chosen by what attackers pay), from 1800 samples of 2 classes\n"
    )
    evidence = dataclasses.replace(saved.rehearsal, tolerated=("noise", "flip"))
    given = calibration(provenance={**FACTS, "scores": "pate"}, rehearsal=evidence)
    first, second, *_ = summarise(given, FILE).splitlines()
    assert first == "policy evidence on pate, from 1800 samples of 2 classes"
    assert second == "  tolerated: noise, flip"
    assert summarise(calibration(provenance=FACTS, name=PolicyName.paper), FILE).startswith(
        "policy paper on pate, from"
    )


def test_the_summary_has_the_times_of_the_victim_the_gate_and_the_puzzle() -> None:
    saved = calibration(provenance=FACTS, latency_seconds=0.004, added_seconds=0.001)
    assert (
        "a sample takes 4.00 ms unprotected; the gate adds 1.00 ms and a puzzle of 1.00 ms, 1,000 hashes"
        in summarise(saved, FILE)
    )
    assert "a client without it takes 12.30 ms" in summarise(saved, FILE)
    quick = calibration(provenance=FACTS | {"floor_seconds_in_python": "0.0009"})
    assert "a client without it" not in summarise(quick, FILE)


def test_the_summary_has_the_floors_share_and_what_a_tight_loop_takes() -> None:
    saved = calibration(provenance=FACTS, latency_seconds=0.004, solver=SolverFit(0.0008, 1e6))
    assert (
        "the floor is 25% of the unprotected time; its digests, which are all that a thief's tight loop takes, 0.2 ms"
        in summarise(saved, FILE)
    )
