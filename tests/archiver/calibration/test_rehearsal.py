"""The rehearsal of a fitted policy: what simulated users and thieves pay, and how well each score separates them."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from calpow.archiver.calibration.calibration_document import Role, SimulatedProfile
from calpow.archiver.calibration.policy_fit.fitted_evidence import FittedEvidence
from calpow.archiver.calibration.policy_fit.paper_fit import paper_multiples
from calpow.archiver.calibration.policy_fit.user_profiles import profiles
from calpow.archiver.calibration.policy_fit.wealth import Codes
from calpow.archiver.calibration.rehearsal import (
    LENGTHS,
    LONGEST,
    USERS,
    EvidencePricing,
    PaperPricing,
    QueryTimes,
    RehearsalInputs,
    Streams,
    dearest_class_mix,
    rehearse,
    rehearse_prices,
    separations,
)
from calpow.archiver.calibration.samples import Floats, Samples
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.policy.paper import Paper
from tests.support.scored_samples import BETS, ODD, population, strangers

SAMPLES = population(0, 100)
TIMES = QueryTimes(latency=0.004, added=0.001, floor=0.002)
CAP = 2948.0
FIT = FittedEvidence((), None, BETS, np.ones((1, 3)), 0.7, 20.0, 2.0, CAP, {}, {}, {})
PAPER = Paper(1.0, 0.0, 1.0075)
ORDINARY = 0


def streams(number: int, level: int, share: float, seed: int = 0) -> Streams:
    """Return samples of which this share reaches a level, with costs of 1 by and large."""
    rng = np.random.default_rng(seed)
    codes: Codes = np.where(rng.random((number, 1)) < share, level, ORDINARY).astype(np.uint8)
    costs: Floats = rng.normal(1.0, 0.1, number) + codes[:, 0]
    return Streams(codes, costs)


def inputs_of(horizon: int = 1_000) -> RehearsalInputs:
    """Return honest users, some of whom send noisy samples, and three attackers."""
    return RehearsalInputs(
        samples=SAMPLES,
        profiles=profiles(SAMPLES, ("noise",)),
        honest={"": streams(300, 1, 0.1), "noise": streams(300, 1, 0.3)},
        attacks={"far": streams(200, ODD, 1.0), "seldom": streams(200, ODD, 0.05), "copies": streams(200, ODD, 0.0)},
        own_data=frozenset({"far", "seldom"}),
        auroc={"far": {"energy": 0.99}},
        times=TIMES,
        horizon=horizon,
    )


@pytest.fixture(scope="module")
def rehearsed() -> dict[str, SimulatedProfile]:
    found = rehearse(EvidencePricing(FIT, CAP), inputs_of(), np.random.default_rng(1))
    return {profile.name: profile for profile in found}


def test_everybody_is_there_with_as_many_samples_as_he_has(rehearsed: dict[str, SimulatedProfile]) -> None:
    samples = {name: profile.samples for name, profile in rehearsed.items()}
    of_users = {"uniform": 300, "mixture": 300, "class c0": 100, "class c1": 100, "class c2": 100}
    noisy = {f"{name}, noise": number for name, number in of_users.items()}
    assert samples == of_users | noisy | {"far": 200, "seldom": 200, "copies": 200}
    assert {name for name, profile in rehearsed.items() if profile.role is Role.attacker} == {"far", "seldom", "copies"}
    assert {name for name, profile in rehearsed.items() if profile.own_data} == {"far", "seldom"}
    assert rehearsed["uniform, noise"].kind == "noise"


def test_bands_are_kept_at_checkpoints_up_to_the_horizon_and_no_further_than_prices_change() -> None:
    points = inputs_of(1_000).checkpoints.tolist()
    assert points == sorted(set(points))
    assert points[0] == 1
    assert points[-1] == 1_000
    assert set(LENGTHS) <= set(inputs_of(10_000_000).checkpoints.tolist())
    assert inputs_of(10_000_000).checkpoints[-1] == LONGEST


def test_bands_and_overheads_ascend(rehearsed: dict[str, SimulatedProfile]) -> None:
    for profile in rehearsed.values():
        assert list(profile.overhead) == sorted(profile.overhead)
        assert list(profile.work.middle) == sorted(profile.work.middle)
        for band in (profile.work, profile.score):
            assert len(band.middle) == len(inputs_of().checkpoints)
            rows = zip(band.low, band.middle, band.high, strict=True)
            assert all(low <= middle <= high for low, middle, high in rows)


def test_honest_users_pay_little_and_their_answers_take_the_time_that_follows(
    rehearsed: dict[str, SimulatedProfile],
) -> None:
    uniform = rehearsed["uniform"]
    assert 1 <= uniform.dearest < 1.5
    assert uniform.figures is None
    floors = uniform.work.middle[-1] / 1_000
    expected = (TIMES.latency + TIMES.added + TIMES.floor * floors) / TIMES.latency
    assert uniform.overhead[50] == pytest.approx(expected, rel=0.01)


def test_the_dearest_class_mix_is_of_unchanged_samples(rehearsed: dict[str, SimulatedProfile]) -> None:
    unchanged = [profile.dearest for name, profile in rehearsed.items() if name in {"uniform", "mixture"}]
    unchanged += [
        profile.dearest for name, profile in rehearsed.items() if name.startswith("class") and "," not in name
    ]
    assert dearest_class_mix(list(rehearsed.values())) == max(unchanged)
    assert max(profile.dearest for profile in rehearsed.values()) > 100


def test_the_fewer_strangers_among_the_queries_the_less_they_pay(rehearsed: dict[str, SimulatedProfile]) -> None:
    far = rehearsed["far"].figures
    assert far is not None
    assert far.pure > 2_800
    assert far.pure >= far.half >= far.fifth >= far.twentieth >= 1
    assert far.theft < far.fifth
    assert far.theft > 10
    assert far.fillers > 4
    assert far.five > 20
    assert far.free <= 1
    assert rehearsed["far"].auroc == {"energy": 0.99}


def test_whoever_looks_ordinary_pays_the_floor_for_ever(rehearsed: dict[str, SimulatedProfile]) -> None:
    copies = rehearsed["copies"].figures
    assert copies is not None
    assert copies.theft == pytest.approx(1.0, abs=0.05)
    assert copies.fillers == 0
    assert copies.free == 1_000


def test_the_cheapest_queries_are_those_that_look_ordinary(rehearsed: dict[str, SimulatedProfile]) -> None:
    seldom = rehearsed["seldom"].figures
    assert seldom is not None
    assert seldom.cheapest == pytest.approx(1.0, abs=0.05)
    assert seldom.pure > 2 * seldom.cheapest


def test_the_same_seed_gives_the_same_evidence() -> None:
    one, other = (rehearse(EvidencePricing(FIT, CAP), inputs_of(100), np.random.default_rng(4)) for _ in range(2))
    assert one == other


def test_prices_alone_are_those_of_the_whole_rehearsal(rehearsed: dict[str, SimulatedProfile]) -> None:
    prices = rehearse_prices(EvidencePricing(FIT, CAP), inputs_of(), np.random.default_rng(1))
    assert prices.keys() == rehearsed.keys()
    for name, profile in rehearsed.items():
        if profile.figures is None:
            assert prices[name] == profile.dearest
        else:
            # Other thieves are drawn, and few of them: each best duty cycle is that of four.
            assert 1 / 1.5 < prices[name] / profile.figures.theft < 1.5


def test_streams_go_on_from_the_state_of_the_accounts() -> None:
    odd = streams(40, ODD, 0.2)
    codes, costs = odd.codes.reshape(2, 20, 1), odd.costs.reshape(2, 20)
    for pricing in (EvidencePricing(FIT, CAP), PaperPricing(PAPER, CAP)):
        whole = pricing.price(codes, costs)
        first = pricing.price(codes[:, :12], costs[:, :12])
        second = pricing.price(codes[:, 12:], costs[:, 12:], first.end)
        assert second.prices == pytest.approx(whole.prices[:, 12:], rel=1e-5)
        assert second.score == pytest.approx(whole.score[:, 12:], rel=1e-5, abs=1e-6)


def test_prices_of_the_papers_policy_follow_its_formula() -> None:
    costs = np.random.default_rng(0).exponential(size=(3, 50))
    priced = PaperPricing(PAPER, CAP).price(np.zeros((3, 50, 1), np.uint8), costs)
    distances = np.cumsum(costs - PAPER.slope, axis=1)
    assert priced.score == pytest.approx(distances)
    assert priced.prices == pytest.approx(paper_multiples(math.log(PAPER.base), distances, CAP))


def test_under_the_papers_policy_costs_alone_count() -> None:
    inputs = dataclasses.replace(inputs_of(), profiles=profiles(SAMPLES, ()))
    found = {profile.name: profile for profile in rehearse(PaperPricing(PAPER, CAP), inputs, np.random.default_rng(1))}
    assert found["uniform"].score.middle[-1] == pytest.approx(100, rel=0.3)
    assert found["far"].figures is not None
    assert found["far"].figures.pure > 1_000
    assert len(found["far"].overhead) == 101
    assert USERS >= 100


def all_of(samples: Samples) -> ScoredSamples:
    return ScoredSamples(samples.costs, samples.labels)


def test_separation_is_measured_among_samples_with_the_same_answer() -> None:
    legitimate = population(0, 400)
    far = strangers(1, 300, (6.0, 0.0))
    found = separations(far, all_of(legitimate), ("first", "second"))
    assert found["first"] == pytest.approx(1.0, abs=0.01)
    assert found["second"] == pytest.approx(0.5, abs=0.06)
    low = separations(strangers(1, 300, (-6.0, 0.0)), all_of(legitimate), ("first", "second"))
    assert low["first"] == pytest.approx(0.0, abs=0.01)


def test_an_answer_that_legitimate_samples_never_get_is_compared_with_all() -> None:
    legitimate = population(0, 100)
    odd = strangers(1, 60, (6.0, 0.0))
    odd.labels.fill_(9)
    assert separations(odd, all_of(legitimate), ("first", "second"))["first"] > 0.9


def test_separation_is_the_area_under_the_roc_curve_with_ties_too() -> None:
    legitimate = all_of(population(0, 100))
    legitimate.costs.round_()
    legitimate.labels.fill_(0)
    # Samples that are legitimate, too, but the odder ones more often.
    picks = torch.arange(100) ** 2 * len(legitimate.costs) // 10_000
    attack = ScoredSamples(legitimate.costs.sort(dim=0).values[picks], legitimate.labels[picks])
    truth = np.repeat([1, 0], [len(attack.costs), len(legitimate.costs)])
    for place, area in enumerate(separations(attack, legitimate, ("first", "second")).values()):
        values = torch.cat([attack.costs[:, place], legitimate.costs[:, place]]).numpy()
        assert area == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
        assert area < 0.45
