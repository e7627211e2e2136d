"""The scores that are bet on: those that make thefts dear, and no useless ones."""

import numpy as np
import pytest

from calpow.archiver.calibration.order import MOST_TESTS
from calpow.archiver.calibration.policy_fit import score_choice
from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate
from calpow.archiver.calibration.policy_fit.score_choice import (
    ThievesWealth,
    candidate_tests,
    choose_scores,
    joint_scores,
)
from calpow.archiver.calibration.policy_fit.thieves import thieves_codes
from calpow.archiver.calibration.policy_fit.wealth import Codes
from calpow.handler.leakage.specs import ScoreName, ScoreSpec
from calpow.handler.policy.joint_oddness import JOINT
from tests.support.scored_samples import BETS, ODD

CAP = 2948.0
ONE_SIDE = tuple(Candidate(score, two_sided=False) for score in range(3))


SPECS = (ScoreSpec(ScoreName.pate, {}), ScoreSpec(ScoreName.energy, {}), ScoreSpec(ScoreName.prototypes, {}, "conv"))


def test_scores_are_read_from_one_side_and_from_both_where_both_are_odd() -> None:
    both = [(1, False), (1, True), (2, False), (2, True)]
    assert candidate_tests(SPECS) == [Candidate(*entry) for entry in [(0, False), *both]]
    assert candidate_tests(SPECS, ("energy",)) == [Candidate(1, False), Candidate(1, True)]
    assert candidate_tests(SPECS, ("prototypes@conv", "pate")) == [
        Candidate(*entry) for entry in [(0, False), *both[2:]]
    ]


def test_pate_is_left_out_of_the_joint_oddness_where_the_entropy_of_its_votes_is_there() -> None:
    votes = (ScoreSpec(ScoreName.pate, {}), ScoreSpec(ScoreName.energy, {}), ScoreSpec(ScoreName.vote_entropy, {}))
    assert joint_scores(votes, candidate_tests(votes)) == (1, 2)
    assert joint_scores(SPECS, candidate_tests(SPECS)) == (0, 1, 2)
    assert joint_scores(votes, candidate_tests(votes, ("pate", "energy"))) == (0, 1)


def thieves(*levels: tuple[float, ...], entry: float = 0.0, own: frozenset[str] | None = None) -> ThievesWealth:
    """Return attackers `0`, `1`, ..., whose samples reach the rarest level in these shares, by test."""
    rng = np.random.default_rng(0)
    strangers: dict[str, Codes] = {
        str(number): np.where(rng.random((400, len(shares))) < np.array(shares), ODD, 0).astype(np.uint8)
        for number, shares in enumerate(levels)
    }
    honest = (rng.random((400, len(levels[0]))) < 0.005).astype(np.uint8)
    streams = thieves_codes(strangers, honest, BETS, rng)
    return ThievesWealth.of(streams, BETS, frozenset(strangers) if own is None else own, CAP, entry)


def chosen(wealth: ThievesWealth, candidates: tuple[Candidate, ...] = ONE_SIDE, *, every: bool = False) -> set[int]:
    return set(choose_scores(wealth, candidates, 0.7, MOST_TESTS, every=every).tests)


def test_the_score_that_separates_is_chosen_first() -> None:
    assert choose_scores(thieves((0.0, 1.0, 0.0)), ONE_SIDE, 0.7, MOST_TESTS, every=True).tests[0] == 1


def test_the_joint_oddness_is_bet_on_wherever_it_can_be_whatever_the_reference_attackers_show() -> None:
    candidates = (*ONE_SIDE[:2], Candidate(2, two_sided=False, place=JOINT))
    assert choose_scores(thieves((1.0, 1.0, 0.5)), candidates, 0.7, MOST_TESTS, every=False).tests[0] == 2


@pytest.fixture
def best_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no score that makes thefts any cheaper."""
    monkeypatch.setattr(score_choice, "WORTH_DIVERSITY", 0.0)


def test_a_useless_score_is_not_chosen_where_it_makes_thefts_cheaper(best_only: None) -> None:
    assert chosen(thieves((0.0, 1.0, 0.0))) == {1}


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3, 1.0])
def test_the_largest_set_is_taken_that_costs_no_more_than_diversity_is_worth(
    loss: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_choice, "WORTH_DIVERSITY", loss)
    wealth = thieves((0.0, 1.0, 0.0))
    whole = choose_scores(wealth, ONE_SIDE, 0.7, MOST_TESTS, every=True).tests
    objectives = [wealth.objective(whole[:size], 0.7) for size in (1, 2, 3)]
    largest = max(size for size, objective in enumerate(objectives, 1) if objective >= max(objectives) - loss)
    assert choose_scores(wealth, ONE_SIDE, 0.7, MOST_TESTS, every=False).tests == whole[:largest]


def test_scores_that_see_different_strangers_are_chosen_together() -> None:
    assert chosen(thieves((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))) >= {0, 2}


def test_a_score_that_does_about_as_well_is_taken_too() -> None:
    assert chosen(thieves((1.0, 1.0, 0.0))) >= {0, 1}


def test_every_score_is_taken_where_the_owner_chose_them() -> None:
    assert chosen(thieves((0.0, 1.0, 0.0)), every=True) == {0, 1, 2}


def test_no_more_scores_are_chosen_than_may_be_bet_on() -> None:
    wealth = thieves((1.0, 1.0, 1.0))
    whole = choose_scores(wealth, ONE_SIDE, 0.7, 3, every=False).tests
    assert len(whole) == 3
    assert choose_scores(wealth, ONE_SIDE, 0.7, 2, every=False).tests == whole[:2]
    assert choose_scores(wealth, ONE_SIDE, 0.7, 2, every=True).tests == whole[:2]


def test_a_score_is_read_from_one_side_or_from_both_but_bet_on_once() -> None:
    candidates = (Candidate(0, two_sided=False), Candidate(0, two_sided=True), Candidate(1, two_sided=False))
    assert chosen(thieves((0.0, 1.0, 0.0)), candidates, every=True) == {1, 2}


def test_attackers_with_data_of_their_own_count_most() -> None:
    both = ((1.0, 0.0), (0.0, 1.0))
    first = thieves(*both, own=frozenset({"0"}))
    assert first.objective((0,), 0.7) > first.objective((1,), 0.7) + 1
    second = thieves(*both, own=frozenset({"1"}))
    assert second.objective((1,), 0.7) > second.objective((0,), 0.7) + 1
    nobody = thieves(*both, own=frozenset())
    assert nobody.objective((0, 1), 0.7) == pytest.approx(thieves(*both).objective((0, 1), 0.7))


def test_an_entry_makes_new_accounts_and_so_the_objective_dearer() -> None:
    assert thieves((1.0,), entry=2.0).objective((0,), 0.5) > thieves((1.0,)).objective((0,), 0.5)
