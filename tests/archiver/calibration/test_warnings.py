"""Warnings of a calibration: each has its cause, its figures and a way out."""

import dataclasses

import numpy as np
import pytest

from calpow.archiver.calibration.calibration_document import RehearsalEvidence, SimulatedProfile
from calpow.archiver.calibration.judgement import strangers
from calpow.archiver.calibration.rehearsal import QueryTimes
from calpow.archiver.calibration.samples import Samples
from calpow.archiver.calibration.timing.tight_loop import TightLoop
from calpow.archiver.calibration.warnings import threshold_warnings, tight_loop_warnings, warnings
from calpow.handler.leakage.teachers.ensemble import EnsembleCard
from calpow.handler.policy.evidence import Evidence, ScoreTest
from calpow.handler.policy.solver_fit import SolverFit
from tests.support.ensembles import ensemble_card
from tests.support.evidence import simulated_evidence

SCORES = {"pate": False, "energy": False}
TIMES = QueryTimes(0.01, 0.001, 0.001)
EVIDENCE = simulated_evidence()


def samples(*counts: int) -> Samples:
    """Return samples of classes a, b, ... of these sizes, each a group of its own."""
    classes = np.repeat(np.arange(len(counts)), counts)
    return Samples.of_arrays(
        np.zeros((len(classes), 1)), classes, classes, np.arange(len(classes)), tuple("abcdefgh"[: len(counts)])
    )


def found(
    evidence: RehearsalEvidence = EVIDENCE,
    legitimate: Samples | None = None,
    times: QueryTimes = TIMES,
    ensemble: EnsembleCard | None = None,
    scores: dict[str, bool] = SCORES,
) -> list[str]:
    return warnings(evidence, legitimate or samples(100, 100), times, ensemble, scores)


def with_profiles(*profiles: SimulatedProfile) -> RehearsalEvidence:
    return dataclasses.replace(EVIDENCE, profiles=profiles)


def test_there_is_nothing_to_warn_of() -> None:
    assert found() == []


def test_few_samples_of_a_class_and_what_more_would_buy() -> None:
    assert found(legitimate=samples(120, 45)) == [
        "Class b has only 45 independent samples: so few cannot show how rarely a legitimate query looks odd, and"
        " thieves hide among its answers. With 45 samples a class, a theft costs about 10 floors, with 500 about"
        " 25 to 40."
    ]
    (warning,) = found(legitimate=samples(99, 45, 100))
    assert "Class b has only 45 independent samples (2 of 3 classes have fewer than 100)" in warning


def test_a_vote_that_is_mostly_wrong() -> None:
    weak = ensemble_card(vote_accuracy=0.42)
    assert found(ensemble=weak) == ["The teachers' vote is right in 42% only: give them more data."]
    assert found(ensemble=ensemble_card(vote_accuracy=0.8)) == []


@pytest.mark.parametrize(
    ("times", "remedy"),
    [
        (QueryTimes(0.001, 0.002, 0.0001), "several samples a request share the gate's time"),
        (QueryTimes(0.001, 0.0001, 0.002), "another --puzzle may lower"),
    ],
)
def test_a_budget_that_a_fast_model_cannot_keep(times: QueryTimes, remedy: str) -> None:
    (warning,) = found(times=times)
    assert warning.startswith("The overhead budget of 2 cannot be kept for a model this fast")
    assert remedy in warning
    assert "--overhead-budget" in warning


def test_a_budget_that_the_puzzle_exceeds_by_its_last_stamp_is_kept() -> None:
    most = max(profile.dearest for profile in EVIDENCE.honest if not profile.kind)
    assert found(times=QueryTimes(1.0, 0.0, 1.015 / most)) == []
    assert found(times=QueryTimes(1.0, 0.0, 1.03 / most)) != []


def test_a_gate_that_takes_more_than_the_budget_leaves_the_least_puzzle() -> None:
    (warning,) = found(times=QueryTimes(0.001, 0.002, 0.00001))
    assert "2.0 ms for pricing and accounting, under 0.1 ms for puzzles" in warning
    assert "the gate alone takes more than the budget, so the floor is the least puzzle" in warning


def test_a_floor_that_is_mostly_starts_and_what_a_tight_loop_pays() -> None:
    loop = TightLoop(SolverFit(0.0008, 1e6), 0.001, 0.002)
    cheapest = min(strangers(EVIDENCE), key=lambda thief: loop.theft(thief.figures) if thief.figures else 0.0)
    assert cheapest.figures is not None
    (warning,) = tight_loop_warnings(loop, EVIDENCE)
    assert warning.startswith(
        "Digests take only 200 µs of the floor's 1,000 µs (20%), the rest is the start of its stamps. A thief whose"
        f" solver runs in a tight loop pays for digests only: {loop.theft(cheapest.figures):.2g} times the time of an"
        f" unprotected answer for a stolen one (“{cheapest.name}”)."
    )
    assert "--overhead-budget" in warning
    (without_thieves,) = tight_loop_warnings(loop, with_profiles(*EVIDENCE.honest))
    assert "pays for digests only. A larger" in without_thieves
    assert tight_loop_warnings(TightLoop(SolverFit(0.0005, 1e6), 0.001, 0.002), EVIDENCE) == []


def test_classes_whose_answers_no_score_can_find_odd() -> None:
    one_side = ScoreTest(0, ((1.0,), (), ()))
    both_sides = ScoreTest(1, ((), (), ()), ((), (2.0,), ()))
    policy = Evidence((one_side, both_sides), (), (0.1,), (0.5,), 0.5, 20.0, 4.0, -1)
    (warning,) = threshold_warnings(policy, ("ant", "bee", "cat"))
    assert warning.startswith("No query that is answered with class cat can be odd")
    (all_of_them,) = threshold_warnings(dataclasses.replace(policy, tests=(ScoreTest(0, ((),) * 6),)), tuple("abcdef"))
    assert "class a, b, c, d and 2 more can" in all_of_them
    assert threshold_warnings(dataclasses.replace(policy, tests=(ScoreTest(0, ((1.0,),) * 3),)), tuple("abc")) == []


def test_a_score_in_use_that_tells_no_attacker() -> None:
    attackers = [dataclasses.replace(attacker, auroc={"pate": 0.45, "norm": 0.1}) for attacker in EVIDENCE.attackers]
    evidence = with_profiles(*EVIDENCE.honest, *attackers)
    assert found(evidence) == ["Score pate tells no attacker from legitimate users: leave it out."]
    # From its low side, a score of 0.1 tells them well.
    assert found(evidence, scores={"norm": True}) == []
    assert found(evidence, scores={"norm": False}) != []
    assert found(evidence, scores={}) == []


def test_attackers_with_data_of_their_own_who_pay_less_than_the_aim() -> None:
    cheap = [
        dataclasses.replace(attacker, figures=dataclasses.replace(attacker.figures, theft=5.0 + place))
        for place, attacker in enumerate(EVIDENCE.attackers)
        if attacker.figures
    ]
    (warning,) = found(with_profiles(*EVIDENCE.honest, *cheap))
    assert "pay less than 20 floors for a stolen answer" in warning
    assert "“noise” (5.0), “dead leaves” (6.0), “strokes” (7.0), “digits” (8.0)." in warning
    assert "mixup" not in warning


def test_users_who_pay_too_much_for_tolerated_changes() -> None:
    dear = [dataclasses.replace(user, dearest=9.0 if user.kind == "noise" else 1.0) for user in EVIDENCE.honest]
    (warning,) = found(with_profiles(*dear, *EVIDENCE.attackers))
    assert warning.startswith(
        "Users who send tolerated changes pay more than 4 floors an answer: “uniform, noise” (9.0)"
    )
    assert "and 8 more" in warning
