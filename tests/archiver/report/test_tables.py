"""The report's tables: what thieves and honest users pay, and the scores that are bet on."""

import dataclasses

import pytest

from calpow.archiver.calibration.calibration_document import Calibration
from calpow.archiver.report.multiples import Multiples
from calpow.archiver.report.tables import ONE_CLASS, PRICES, attacker_rows, honest_table, score_rows
from calpow.handler.leakage.specs import ScoreName, ScoreSpec
from calpow.handler.policy.calibrated_policy import PolicyName
from calpow.handler.policy.evidence import ScoreTest
from calpow.handler.policy.solver_fit import SolverFit
from tests.support.calibrations import EVIDENCE, calibrated_policy, calibration
from tests.support.evidence import simulated_evidence


@pytest.fixture(scope="module")
def simulated() -> Calibration:
    return calibration(rehearsal=simulated_evidence())


def test_all_prices_of_a_thief_are_for_a_stolen_answer() -> None:
    saved = calibration()
    (row,) = attacker_rows(saved, Multiples.of(saved))
    prices = {name: price.floors for name, price in zip(PRICES, row.prices, strict=True)}
    # On the mean query, 2,800 floors where a half are thefts, 900 where one in five is, 20 where one in twenty is.
    assert prices == {
        "a theft at the best duty cycle": "30",
        "pure": "2,900",
        "half are thefts": "5,600",
        "1 in 5": "4,500",
        "1 in 20": "400",
        "the cheapest third": "2,000",
        "accounts of five queries": "60",
    }
    assert (row.theft.times, row.theft.remark, row.theft.marked) == ("15.0×", "9 in between", False)
    assert row.intolerant is None


def test_a_theft_in_a_tight_loop_is_shown_in_unprotected_answers() -> None:
    saved = calibration(solver=SolverFit(0.0008, 1e6))
    (row,) = attacker_rows(saved, Multiples.of(saved))
    # 30 floors of 1 ms for ten puzzles, which start in 8 ms; an unprotected answer takes 2 ms.
    assert (row.theft.times, row.tight_loop) == ("15.0×", "11.0×")


def test_honest_users_of_one_class_are_those_of_the_dearest(simulated: Calibration) -> None:
    evidence = simulated.rehearsal
    table = honest_table(evidence, Multiples.of(simulated))
    assert table.headings == ("uniform", "mixture", ONE_CLASS)
    assert [row.change for row in table.rows] == ["as they are", "noise", "shift"]
    dearest = max(
        (profile for profile in evidence.honest if profile.name.startswith("class ") and profile.kind == "noise"),
        key=lambda profile: profile.dearest,
    )
    cell = table.rows[1].prices[2]
    assert cell is not None
    tolerant, strict = cell
    assert dearest.name == f"class {tolerant.remark}, noise"
    assert (tolerant.floors, strict and strict.floors) == (f"{dearest.dearest:.1f}", "260")


def test_users_who_pay_too_much_for_tolerated_changes_are_marked(simulated: Calibration) -> None:
    evidence = simulated.rehearsal
    profiles = tuple(dataclasses.replace(profile, dearest=4.5) for profile in evidence.profiles)
    table = honest_table(dataclasses.replace(evidence, profiles=profiles), Multiples.of(simulated))
    marked = {row.change: {cell[0].marked for cell in row.prices if cell} for row in table.rows}
    assert marked == {"as they are": {False}, "noise": {True}, "shift": {True}}


def test_scores_are_shown_with_the_classes_whose_samples_can_show_their_levels() -> None:
    tests = (ScoreTest(1, ((1.0, 2.0), (1.0,))), ScoreTest(0, ((1.0,), ()), ((-1.0, -2.0), ())))
    policy = calibrated_policy(
        scores=(ScoreSpec(ScoreName.pate, {}), ScoreSpec(ScoreName.mahalanobis, {}, "blocks.0")),
        evidence=dataclasses.replace(EVIDENCE, tests=tests),
    )
    assert [(row.label, row.two_sided, row.classes) for row in score_rows(policy)] == [
        ("mahalanobis@blocks.0", False, (2, 1)),
        ("pate", True, (1, 1)),
    ]
    assert score_rows(dataclasses.replace(policy, name=PolicyName.paper)) == []
