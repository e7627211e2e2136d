"""Values of a policy that contradict each other are refused by name."""

import dataclasses

import pytest

from calpow.handler.errors import CalibrationError
from calpow.handler.leakage.specs import InputRange, VictimShape
from calpow.handler.policy.policies import Paper, SolverFit, Standard
from calpow.handler.policy.validation import check_policy
from tests.support.calibrations import calibrated_policy

RULE = calibrated_policy().conditional


def test_a_policy_that_makes_sense_passes() -> None:
    check_policy(calibrated_policy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"victim_sha256": "abc"}, "victim_sha256 must be 64 hexadecimal digits"),
        ({"parts": {"teachers.pt": "Z" * 64}}, "parts.teachers.pt must be 64 hexadecimal digits"),
        ({"shape": VictimShape(3, (4,))}, "conditional.class_floors has 2 of 3 classes"),
        ({"shape": VictimShape(1, (4,))}, "shape.classes must be at least 2"),
        ({"scores": ()}, "conditional.standards has 1 entries for 0 scores"),
        ({"input_range": InputRange((0.0,), (1.0, 2.0))}, "input_range.low and input_range.high"),
        ({"input_range": InputRange((), ())}, "input_range.low and input_range.high"),
        ({"paper": Paper(1.0, 0.0, 0.99)}, "paper.base must be at least 1"),
        ({"cap": 0.5}, "cap must be at least 1"),
        ({"solver": SolverFit(-1e-6, 1.0)}, "solver.start_seconds must be at least 0"),
        ({"solver": SolverFit(0.0, 0.0)}, "solver.hashes_per_second must be more than 0"),
        ({"floor_seconds": 0.0}, "floor_seconds must be more than 0"),
        ({"floor_seconds": float("nan")}, "floor_seconds must be more than 0"),
    ],
)
def test_values_that_make_no_sense_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CalibrationError, match="calpow calibrate") as refusal:
        check_policy(calibrated_policy(**changes))
    assert f"policy.{message}" in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"standards": ()}, "standards has 0 entries for 1 scores"),
        ({"standards": (Standard((0.0, 0.0), (1.0, 0.0)),)}, "standards[0].deviations must be more than 0"),
        ({"standards": (Standard((0.0,), (1.0, 1.0)),)}, "standards[0].means has 1 of 2 classes"),
        ({"class_means": (1.0,)}, "class_means has 1 of 2 classes"),
        ({"spread": 0.0}, "spread must be more than 0"),
        ({"burst": -1.0}, "burst must be more than 0"),
    ],
)
def test_values_of_the_conditional_policy_that_make_no_sense_are_named(
    changes: dict[str, object], message: str
) -> None:
    rule = dataclasses.replace(RULE, **changes)  # type: ignore[arg-type]  # the tests' own mapping
    with pytest.raises(CalibrationError) as refusal:
        check_policy(calibrated_policy(conditional=rule))
    assert f"policy.conditional.{message}" in str(refusal.value)
