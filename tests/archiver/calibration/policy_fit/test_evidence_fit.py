"""The fit of the policy `evidence`: strangers pay, honest users of fresh data do not, and bad samples are refused."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from calpow.archiver.calibration.order import MOST_TESTS
from calpow.archiver.calibration.policy_fit import affordability, evidence_fit, score_choice
from calpow.archiver.calibration.policy_fit.affordability import Limits
from calpow.archiver.calibration.policy_fit.evidence_data import EvidenceData
from calpow.archiver.calibration.policy_fit.evidence_fit import fit_evidence
from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate, FittedEvidence
from calpow.archiver.calibration.policy_fit.thieves import duty_cycle
from calpow.archiver.calibration.policy_fit.user_profiles import draw_users, profiles
from calpow.archiver.calibration.policy_fit.wealth import Codes, betting_scheme, mean_payments, multiples, walk
from calpow.archiver.calibration.samples import Floats, Samples
from calpow.archiver.errors import FittingError
from calpow.handler.leakage.score import ScoredSamples
from tests.support.scored_samples import evidence_data, population, scored, strangers

BUDGET, CAP = 2.0, 2948.0
LIMITS = Limits(BUDGET, cap=CAP)
ONE_SIDE = (Candidate(0, two_sided=False), Candidate(1, two_sided=False))
BOTH_SIDES = tuple(Candidate(score, two_sided=two_sided) for score in range(2) for two_sided in (False, True))


def fitted(
    data: EvidenceData,
    candidates: tuple[Candidate, ...] = ONE_SIDE,
    joint: tuple[int, ...] = (),
    *,
    seed: int = 0,
    every: bool = False,
) -> FittedEvidence:
    return fit_evidence(data, candidates, joint, LIMITS, np.random.default_rng(seed), every=every)


def priced(fit: FittedEvidence, codes: Codes) -> Floats:
    """Return the prices of streams of codes on new accounts, `[users, queries]`."""
    walked = walk(codes, fit.bets, fit.ceiling, fit.bets.beginning(fit.entry))
    return multiples(walked.means, fit.exponent, CAP)


def pure(fit: FittedEvidence, attack: ScoredSamples) -> float:
    """Return the mean price of 1,000 queries of thieves who send these alone."""
    codes = fit.codes(attack)
    index = np.random.default_rng(7).integers(len(codes), size=(5, 1_000))
    return float(priced(fit, codes[index]).mean())


def hidden(fit: FittedEvidence, attack: ScoredSamples) -> float:
    """Return the mean price of queries of which one in fifteen is one of these, and the others are legitimate."""
    stream = duty_cycle(fit.codes(attack), fit.held_out[""], 14, 5, 1_000, np.random.default_rng(7))
    return float(priced(fit, stream).mean())


def dearest(fit: FittedEvidence, fresh: Samples, changes: Mapping[str, ScoredSamples] = {}) -> dict[str, float]:
    """Return what the 99th percentile of users of each profile pays who send fresh samples, or their changes."""
    codes = {"": fit.codes(ScoredSamples(fresh.costs, fresh.labels))}
    codes |= {name: fit.codes(change) for name, change in changes.items()}
    rng, paid = np.random.default_rng(8), {}
    for profile in profiles(fresh, tuple(changes)):
        prices = priced(fit, draw_users(profile, codes, 100, 1_000, rng))
        paid[profile.name] = float(np.percentile(mean_payments(prices, (100, 1_000)), 99, axis=0).max())
    return paid


def scores_of(fit: FittedEvidence) -> list[int]:
    return [test.candidate.score for test in fit.tests]


@pytest.fixture(scope="module")
def useful() -> FittedEvidence:
    """A fit to 500 samples a class, of whom attackers differ by the first score alone."""
    return fitted(evidence_data(population(0, 500), far=strangers(1, 400, (7.0, 0.0))), BOTH_SIDES)


@pytest.mark.training
class TestWhatOneScoreSeparates:
    """Fits to samples that one score tells from strangers."""

    def test_strangers_pay_a_thousand_floors_a_query_and_more(self, useful: FittedEvidence) -> None:
        assert pure(useful, strangers(2, 500, (7.0, 0.0))) >= 1_000

    def test_that_score_is_bet_on_first(self, useful: FittedEvidence) -> None:
        assert scores_of(useful)[0] == 0
        assert useful.slacks.shape == (len(useful.tests), 3)

    def test_a_useless_score_is_not_bet_on_where_it_makes_thefts_cheaper(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(score_choice, "WORTH_DIVERSITY", 0.0)
        assert scores_of(fitted(evidence_data(population(0, 100), far=strangers(1, 100, (7.0, 0.0))))) == [0]

    def test_the_price_is_capped_where_the_wealth_is_at_its_ceiling(self, useful: FittedEvidence) -> None:
        assert useful.ceiling * useful.exponent >= math.log(CAP)

    def test_samples_are_compared_with_others_and_attackers_judged_by_other_queries(
        self, useful: FittedEvidence
    ) -> None:
        assert useful.held_out[""].shape == (1_500, len(useful.tests))
        assert len(useful.attacks["far"]) == len(useful.judged["far"]) == 200
        assert useful.attacks["far"][:, 0].mean() > 2

    def test_the_same_seed_fits_the_same_policy(self) -> None:
        data = evidence_data(population(0, 60), far=strangers(1, 60, (5.0, 0.0)))
        one, other = fitted(data), fitted(data)
        assert (one.exponent, one.entry, scores_of(one)) == (other.exponent, other.entry, scores_of(other))
        assert [test.high.tolist() for test in one.tests] == [test.high.tolist() for test in other.tests]


@pytest.mark.training
def test_honest_users_of_fresh_data_stay_within_the_budget_but_for_an_unlucky_draw() -> None:
    paid = []
    for seed in range(5):
        fit = fitted(evidence_data(population(seed, 400), far=strangers(1, 300, (5.0, 0.0))), seed=seed)
        paid.append(max(dearest(fit, population(100 + seed, 2_000)).values()))
    assert np.median(paid) <= BUDGET
    assert max(paid) <= 1.5 * BUDGET


@pytest.mark.training
def test_strangers_whose_score_is_small_are_odd_from_both_sides_only() -> None:
    data = evidence_data(population(0, 300), low=strangers(1, 300, (-7.0, 0.0)))
    fit = fitted(data, BOTH_SIDES)
    assert [test.candidate for test in fit.tests if test.candidate.score == 0] == [Candidate(0, two_sided=True)]
    assert all(test.low is not None for test in fit.tests if test.candidate.score == 0)
    assert pure(fit, strangers(2, 300, (-7.0, 0.0))) >= 1_000
    assert pure(fitted(data), strangers(2, 300, (-7.0, 0.0))) < 5


@pytest.mark.training
def test_users_who_send_tolerated_changes_can_afford_it_and_others_cannot() -> None:
    def shifted(samples: Samples, shift: float) -> ScoredSamples:
        return scored(samples.costs.numpy() + shift, samples.labels.numpy())

    samples, fresh = population(0, 300), population(100, 1_000)
    attacks = {"far": strangers(1, 300, (9.0, 0.0))}
    intolerant = EvidenceData(samples, {}, {"shift": shifted(samples, 2.0)}, attacks, frozenset(attacks))
    tolerant = dataclasses.replace(intolerant, tolerated=intolerant.shown, shown={})
    lenient, strict = fitted(tolerant), fitted(intolerant)
    assert strict.held_out["shift"].mean() > lenient.held_out["shift"].mean()
    changes = {"shift": shifted(fresh, 2.0)}
    paid = dearest(lenient, fresh, changes)
    assert max(price for name, price in paid.items() if name.startswith("class") and "shift" in name) <= 4
    assert max(price for name, price in paid.items() if "shift" not in name) <= BUDGET
    assert dearest(strict, fresh, changes)["uniform, shift"] > 100
    assert pure(lenient, strangers(2, 300, (9.0, 0.0))) >= 1_000


@pytest.mark.training
@pytest.mark.parametrize(("per_class", "seed"), [(12, 0), (45, 0), (22, 7), (25, 0), (28, 2), (84, 6), (100, 3)])
def test_small_classes_are_fitted_and_their_users_pay_little(per_class: int, seed: int) -> None:
    fit = fitted(evidence_data(population(seed, per_class), far=strangers(1, 100, (7.0, 0.0))), seed=seed)
    paid = dearest(fit, population(100 + seed, 1_000))
    assert np.median(list(paid.values())) <= BUDGET
    assert max(paid.values()) <= 2.5 * BUDGET
    assert pure(fit, strangers(2, 300, (7.0, 0.0))) > 20


@pytest.mark.training
def test_a_hundred_classes_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affordability, "QUERIES", 200)
    data = evidence_data(population(0, 30, classes=100), far=strangers(1, 300, (9.0, 0.0), classes=100))
    fit = fitted(data, ONE_SIDE[:1])
    assert fit.tests[0].high.shape == (100, len(fit.bets.shares))
    assert pure(fit, strangers(2, 300, (9.0, 0.0), classes=100)) >= 100


@pytest.mark.training
@pytest.mark.parametrize("value", [1.25, 3.645, 1e12])
def test_a_score_that_is_constant_or_saturated_does_no_harm_beside_a_good_one(value: float) -> None:
    samples, far, others = population(0, 100), strangers(1, 100, (7.0, 0.0)), strangers(2, 300, (7.0, 0.0))
    for costs in (samples.costs, far.costs, others.costs):
        costs[:, 1] = value
    fit = fitted(evidence_data(samples, far=far))
    assert scores_of(fit)[0] == 0
    assert fit.codes(others)[:, 1:].max(initial=0) == 0
    assert pure(fit, others) > 100


@pytest.mark.training
def test_every_score_is_bet_on_where_the_owner_names_them_once_each() -> None:
    data = evidence_data(population(0, 100), far=strangers(1, 100, (7.0, 0.0)))
    assert sorted(scores_of(fitted(data, BOTH_SIDES, every=True))) == [0, 1]


@pytest.mark.training
@pytest.mark.parametrize(("per_class", "chosen"), [(60, 3), (150, 3), (600, 4)])
def test_bets_are_few_and_on_three_scores_where_classes_are_small_unless_the_owner_names_more(
    per_class: int, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affordability, "QUERIES", 200)
    data = evidence_data(population(0, per_class, scores=4), far=strangers(1, 100, (7.0, 7.0, 7.0, 7.0)))
    candidates = tuple(Candidate(score, two_sided=False) for score in range(4))
    fit = fitted(data, candidates)
    assert fit.bets == betting_scheme(per_class).bets
    assert len(fit.tests) == chosen
    assert sorted(scores_of(fitted(data, candidates, every=True))) == [0, 1, 2, 3]


@pytest.mark.training
@pytest.mark.parametrize(("per_class", "joint"), [(60, False), (400, True)])
def test_strangers_who_are_a_little_odd_by_every_score_are_dear_by_all_of_them_together(
    per_class: int, joint: bool
) -> None:
    offsets, candidates = (1.5,) * 6, tuple(Candidate(score, two_sided=False) for score in range(6))
    data = evidence_data(population(0, per_class, scores=6), near=strangers(1, 400, offsets))
    together = fitted(data, candidates, tuple(range(6)))
    assert (together.scales is not None) is joint
    if joint:
        others = strangers(2, 400, offsets)
        assert hidden(together, others) >= 2 * hidden(fitted(data, candidates), others)
        fresh = population(100, 2_000, scores=6)
        assert np.median(list(dearest(together, fresh).values())) <= BUDGET


@pytest.mark.training
def test_the_joint_oddness_of_one_score_is_no_candidate() -> None:
    data = evidence_data(population(0, 400), far=strangers(1, 400, (7.0, 0.0)))
    assert fitted(data, ONE_SIDE[:1], (0,)).scales is None


@pytest.mark.training
def test_copies_do_not_make_a_small_class_a_large_one() -> None:
    samples = population(0, 60).take(np.repeat(np.arange(180), 10))
    fit = fitted(evidence_data(samples, far=strangers(1, 100, (7.0, 0.0))), ONE_SIDE[:1])
    assert fit.bets == betting_scheme(60).bets


@pytest.mark.training
def test_no_more_scores_are_bet_on_than_an_account_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affordability, "QUERIES", 200)
    data = evidence_data(population(0, 60, scores=7), far=strangers(1, 100, (7.0,) * 7))
    candidates = tuple(Candidate(score, two_sided=False) for score in range(7))
    assert len(fitted(data, candidates, every=True).tests) == MOST_TESTS


@pytest.mark.training
def test_new_accounts_pay_the_largest_entry_that_makes_thefts_about_as_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = []
    for loss in (0.0, evidence_fit.WORTH_ENTRY, math.inf):
        monkeypatch.setattr(evidence_fit, "WORTH_ENTRY", loss)
        entries.append(fitted(evidence_data(population(0, 120), far=strangers(1, 300, (7.0, 0.0)))).entry)
    assert entries == sorted(entries)
    assert entries[-1] == max(evidence_fit.ENTRIES)


def test_where_nothing_separates_strangers_they_pay_the_floor_and_so_does_everybody() -> None:
    fit = fitted(evidence_data(population(0, 100), near=strangers(1, 100, (0.0, 0.0))))
    assert pure(fit, strangers(2, 300, (0.0, 0.0))) < 5
    assert dearest(fit, population(100, 500))["uniform"] <= 1.5 * BUDGET


@pytest.mark.training
def test_accounts_as_they_were_recorded_are_users_too() -> None:
    samples = population(0, 100)
    recorded = dataclasses.replace(samples, groups=torch.arange(300) % 12, by_account=True)
    fit = fitted(evidence_data(recorded, far=strangers(1, 100, (7.0, 0.0))))
    assert dearest(fit, dataclasses.replace(recorded))["accounts as recorded"] <= BUDGET


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["legitimate", "far", "noise"])
def test_scores_that_are_not_finite_are_refused_in_one_line(value: float, where: str) -> None:
    samples, far, noise = population(0, 20), strangers(1, 20, (5.0, 0.0)), strangers(2, 60, (0.0, 0.0))
    data = EvidenceData(samples, {"noise": noise}, {}, {"far": far}, frozenset())
    costs = {"legitimate": samples.costs, "far": far.costs, "noise": noise.costs}[where]
    costs[3, 1] = value
    with pytest.raises(FittingError, match=r"\Asome samples have a score that is not finite: leave that score out\Z"):
        fitted(data)


def test_without_an_attacker_there_is_nothing_to_choose_by() -> None:
    with pytest.raises(FittingError, match=r"answers no reference attacker.* with --attack\Z"):
        fitted(evidence_data(population(0, 20)))
