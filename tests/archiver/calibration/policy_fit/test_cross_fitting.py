"""Cross-fitting: no sample vouches for itself, nor do those that belong together."""

import dataclasses

import numpy as np
import pytest
import torch

from calpow.archiver.calibration.policy_fit.cross_fitting import (
    NO_SLACK,
    SLACKS,
    candidate_tables,
    cross_fit,
    slack_values,
)
from calpow.archiver.calibration.policy_fit.evidence_data import EvidenceData
from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate
from calpow.archiver.calibration.samples import Samples
from tests.support.scored_samples import BETS, ODD, evidence_data, population, scored

HIGH, BOTH = Candidate(0, two_sided=False), Candidate(1, two_sided=True)
ALL = np.arange(900)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def data() -> EvidenceData:
    samples = population(0, 300)
    costs, labels = samples.costs.numpy(), samples.labels.numpy()
    noise, flip = scored(costs + 1.0, labels), scored(costs + 9.0, labels)
    return EvidenceData(samples, {"noise": noise}, {"flip": flip}, {}, frozenset())


def test_samples_have_codes_by_slack_and_kind_and_candidate(data: EvidenceData) -> None:
    held_out = cross_fit(data, [HIGH, BOTH], (), BETS, rng())
    assert len(held_out.by_slack) == len(SLACKS)
    for codes in held_out.by_slack:
        assert {name: column.shape for name, column in codes.items()} == dict.fromkeys(("", "noise", "flip"), (900, 2))
    assert held_out.by_slack[0]["flip"][:, 0].min() == ODD


@pytest.mark.parametrize("candidate", [HIGH, BOTH])
def test_held_out_samples_reach_a_level_about_as_rarely_as_it_claims(candidate: Candidate) -> None:
    codes = cross_fit(evidence_data(population(0, 1_000)), [candidate], (), BETS, rng()).by_slack[0][""][:, 0]
    for level, share in enumerate(BETS.shares, 1):
        assert np.mean(codes >= level) <= 1.15 * share
        assert np.mean(codes >= level) > share / 4


def test_more_slack_makes_fewer_samples_odd(data: EvidenceData) -> None:
    shares = [float((codes["noise"] > 0).mean()) for codes in cross_fit(data, [HIGH, BOTH], (), BETS, rng()).by_slack]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < shares[0] / 3


def repeated(samples: Samples, times: int, *, by_account: bool) -> Samples:
    """Return samples of which so many at a time have one group, and are the same."""
    chosen = samples.take(np.repeat(np.arange(len(samples.costs)), times))
    return dataclasses.replace(chosen, by_account=by_account)


def test_copies_are_in_one_fold_and_do_not_vouch_for_one_another() -> None:
    samples = population(0, 100)
    samples.costs[0] = 50.0
    data = evidence_data(repeated(samples, 10, by_account=False))
    codes = cross_fit(data, [HIGH], (), BETS, rng()).by_slack[0][""][:, 0]
    # An odd sample is as odd as its answer's thresholds can show, though it is there ten times.
    tables = candidate_tables(data, HIGH, np.zeros(3, np.int64), BETS)
    assert codes[:10].tolist() == [codes[0]] * 10
    assert codes[0] >= np.isfinite(tables[0][int(samples.labels[0])]).sum() - 1
    alone = cross_fit(evidence_data(samples), [HIGH], (), BETS, rng()).by_slack[0][""][:, 0]
    assert codes[::10].tolist() == alone.tolist()


def test_what_one_account_sent_are_different_samples() -> None:
    samples = population(0, 60)
    copies, accounts = (repeated(samples, 10, by_account=by_account) for by_account in (False, True))
    few, many = (
        candidate_tables(evidence_data(chosen), HIGH, np.zeros(3, np.int64), BETS)[0] for chosen in (copies, accounts)
    )
    assert np.isfinite(many).sum() > np.isfinite(few).sum()


def test_the_tables_of_a_tolerated_change_are_valid_for_it_too(data: EvidenceData) -> None:
    slacks = np.zeros(3, np.int64)
    tolerant = candidate_tables(data, HIGH, slacks, BETS)[0]
    intolerant = candidate_tables(dataclasses.replace(data, tolerated={}), HIGH, slacks, BETS)[0]
    assert (tolerant[:, 0] > intolerant[:, 0] + 0.5).all()


def test_a_candidate_of_two_sides_has_two_tables_that_share_the_budget(data: EvidenceData) -> None:
    plain = dataclasses.replace(data, tolerated={})
    high, low = candidate_tables(plain, BOTH, np.zeros(3, np.int64), BETS)
    doubled = candidate_tables(plain, Candidate(1, two_sided=False), np.full(3, SLACKS.index(2.0)), BETS)[0]
    assert high.tolist() == doubled.tolist()
    assert (-low[:, 0] < high[:, 0]).all()


def test_each_sample_has_the_slack_of_its_answer(data: EvidenceData) -> None:
    held_out = cross_fit(data, [HIGH, BOTH], (), BETS, rng())
    slacks = np.array([[0, 3, NO_SLACK], [5, NO_SLACK, 1]])
    mixed = held_out.mixed([1, 0], slacks)
    answers = data.legitimate.labels.numpy()
    for test, candidate in enumerate([1, 0]):
        for answer in range(3):
            here, at = answers == answer, int(slacks[test, answer])
            expected = held_out.by_slack[at]["noise"][here, candidate] if at < NO_SLACK else np.zeros(here.sum())
            assert mixed["noise"][here, test].tolist() == expected.tolist()


def test_positions_of_slacks_stand_for_their_values() -> None:
    assert slack_values(np.array([0, len(SLACKS) - 1, NO_SLACK])).tolist() == [SLACKS[0], SLACKS[-1], np.inf]


def test_without_slack_no_sample_is_odd(data: EvidenceData) -> None:
    tables = candidate_tables(data, HIGH, np.full(3, NO_SLACK), BETS)
    assert np.isinf(tables[0]).all()
    assert HIGH.codes(data.kinds["flip"], tables, ALL).max() == 0


def test_the_labels_of_samples_are_left_as_they_are(data: EvidenceData) -> None:
    before = data.legitimate.costs.clone()
    cross_fit(data, [HIGH], (), BETS, rng())
    assert torch.equal(data.legitimate.costs, before)
