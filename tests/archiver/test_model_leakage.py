"""The leakage of a model over all accounts is epsilon where votes are accounted (the paper, section 4.4)."""

import math

from calpow.archiver.model_leakage import leakage_of
from calpow.handler.leakage.specs import ScoreName, ScoreSpec
from tests.support.calibrations import calibrated_policy

VOTES = {"teachers": 250.0, "sigma": 10.0}


def words(score: ScoreSpec, samples: int, cost: float) -> str:
    return leakage_of(calibrated_policy(scores=(score,)), samples, cost)


def test_rdp_of_all_answers_is_one_epsilon() -> None:
    epsilon = 3.0 - math.log(1e-5) / 7
    assert words(ScoreSpec(ScoreName.pate, VOTES | {"order": 8.0}), 500, 3.0) == f"epsilon {epsilon:.4g} at delta 1e-05"


def test_epsilons_of_queries_are_added_and_so_are_their_deltas() -> None:
    score = ScoreSpec(ScoreName.pate, VOTES | {"delta": 1e-5})
    assert words(score, 500, 1234.5) == "epsilon 1,234 at delta 0.005"
    assert words(score, 200_000, 1234.5) == "a sum of epsilons of 1,234"


def test_a_score_without_privacy_is_a_sum() -> None:
    assert words(ScoreSpec(ScoreName.energy, {}), 500, 7.25) == "cost 7.25"
    assert leakage_of(None, 500, 7.25) == "cost 7.25"
