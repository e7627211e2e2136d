"""Values of a policy that contradict each other are refused by name."""

import dataclasses

import pytest

from calpow.handler.errors import CalibrationError
from calpow.handler.leakage.specs import InputRange, VictimShape
from calpow.handler.policy.evidence import Evidence, ScoreTest
from calpow.handler.policy.joint_oddness import OddnessScale
from calpow.handler.policy.paper import Paper
from calpow.handler.policy.solver_fit import SolverFit
from calpow.handler.policy.validation import check_policy
from tests.support.calibrations import EVIDENCE, calibrated_policy, flat_test

SCALES = (OddnessScale(0, ((0.0, 1.0, 1.0, 2.0, 3.0),) * 2),)


def with_evidence(**changes: object) -> Evidence:
    return dataclasses.replace(EVIDENCE, **changes)  # type: ignore[arg-type]  # the tests' own mapping


@pytest.mark.parametrize(
    "evidence",
    [
        EVIDENCE,
        with_evidence(tests=(ScoreTest(0, ((), (1.0,)), ((0.0, -1.0), (-2.0, -2.0))),)),
        with_evidence(likeness=-1, entry=25.0),
        with_evidence(tests=(ScoreTest(None, ((1.0,), (2.0,))),), scales=SCALES),
        with_evidence(tests=(flat_test(2, 1.0),) * 31, levels=(0.1,)),
    ],
    ids=["plain", "both sides, few thresholds", "no likeness", "joint", "62 bets"],
)
def test_a_policy_that_makes_sense_passes(evidence: Evidence) -> None:
    check_policy(calibrated_policy(evidence=evidence))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"victim_sha256": "abc"}, "victim_sha256 must be 64 hexadecimal digits"),
        ({"parts": {"teachers.pt": "Z" * 64}}, "parts.teachers.pt must be 64 hexadecimal digits"),
        ({"shape": VictimShape(3, (4,))}, "evidence.tests[0].high has 2 of 3 classes"),
        ({"shape": VictimShape(1, (4,))}, "shape.classes must be at least 2"),
        ({"scores": ()}, "scores must not be empty"),
        ({"input_range": InputRange((0.0,), (1.0, 2.0))}, "input_range.low and input_range.high"),
        ({"input_range": InputRange((), ())}, "input_range.low and input_range.high"),
        ({"input_range": InputRange((0.0,), (1.0,), -0.1)}, "input_range.spacing must be at least 0"),
        ({"paper": Paper(1.0, 0.0, 0.99)}, "paper.base must be at least 1"),
        ({"paper": Paper(0.0, 0.0, 1.1)}, "paper.slope must be more than 0"),
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
        ({"tests": ()}, "tests must not be empty"),
        ({"levels": ()}, "levels must not be empty"),
        ({"stakes": ()}, "stakes must not be empty"),
        ({"levels": (0.05, 0.3)}, "levels must descend, not [0.05, 0.3]"),
        ({"levels": (0.3, 0.3)}, "levels must descend"),
        ({"levels": (1.0, 0.3)}, "levels must be more than 0 and less than 1, not [1.0, 0.3]"),
        ({"levels": (0.3, 0.0)}, "levels must be more than 0 and less than 1"),
        ({"stakes": (0.5, 1.0)}, "stakes must be more than 0 and less than 1, not [0.5, 1.0]"),
        ({"stakes": (0.0,)}, "stakes must be more than 0 and less than 1"),
        ({"exponent": 0.0}, "exponent must be more than 0"),
        ({"ceiling": 0.0}, "ceiling must be more than 0"),
        ({"entry": -0.1}, "entry must be between 0 and the ceiling"),
        ({"entry": 25.1}, "entry must be between 0 and the ceiling"),
        ({"likeness": -2}, "likeness must be between -1 and 128, not -2"),
        ({"likeness": 129}, "likeness must be between -1 and 128, not 129"),
        ({"tests": EVIDENCE.tests * 16}, "tests, levels and stakes make 64 bets, and an account has room for 62"),
        ({"tests": (flat_test(2, 1.0, score=1),)}, "tests[0].score is 1, and there are 1 scores"),
        ({"tests": (flat_test(2, 1.0, score=-1),)}, "tests[0].score is -1"),
        ({"tests": (flat_test(3, 1.0),)}, "tests[0].high has 3 of 2 classes"),
        ({"tests": (ScoreTest(None, ((),) * 2),)}, "scales must not be empty where a test is of the joint oddness"),
        ({"scales": (OddnessScale(1, SCALES[0].quantiles),)}, "scales[0].score is 1, and there are 1 scores"),
        ({"scales": (OddnessScale(0, SCALES[0].quantiles[:1]),)}, "scales[0].quantiles has 1 of 2 classes"),
        ({"scales": (OddnessScale(0, ((1.0,),) * 2),)}, "scales[0].quantiles[0] has 1 numbers instead of 5"),
        ({"scales": (OddnessScale(0, ((1.0, 2.0, 3.0, 3.0, 0.0),) * 2),)}, "scales[0].quantiles[0] must ascend"),
        ({"tests": (ScoreTest(0, ()),)}, "tests[0].high has 0 of 2 classes"),
        ({"tests": (ScoreTest(0, ((1.0,),) * 2, ((1.0,),)),)}, "tests[0].low has 1 of 2 classes"),
        ({"tests": (ScoreTest(0, ((1.0,), (2.0, 1.0))),)}, "tests[0].high[1] must ascend, not [2.0, 1.0]"),
        ({"tests": (ScoreTest(0, ((),) * 2, ((1.0, 2.0), ())),)}, "tests[0].low[0] must descend, not [1.0, 2.0]"),
        ({"tests": (flat_test(2, 1.0, 2.0, 3.0),)}, "tests[0].high[0] has 3 thresholds for 2 levels"),
    ],
)
def test_values_of_the_policy_evidence_that_make_no_sense_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CalibrationError) as refusal:
        check_policy(calibrated_policy(evidence=with_evidence(**changes)))
    assert f"policy.evidence.{message}" in str(refusal.value)
