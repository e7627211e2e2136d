"""The samples of a fit by kind: what scores are compared with, and what is only shown."""

import dataclasses

import numpy as np

from calpow.archiver.calibration.policy_fit.evidence_data import EvidenceData
from tests.support.scored_samples import evidence_data, population, strangers

SAMPLES = population(0, 20)
NOISE, FLIP = strangers(1, 60, (0.1, 0.0)), strangers(2, 60, (2.0, 0.0))


def test_scores_are_compared_with_tolerated_changes_and_not_with_those_that_are_shown() -> None:
    data = EvidenceData(SAMPLES, {"noise": NOISE}, {"flip": FLIP}, {}, frozenset())
    assert list(data.references) == ["", "noise"]
    assert list(data.kinds) == ["", "noise", "flip"]
    assert data.kinds["flip"] is FLIP
    assert data.references[""].costs is SAMPLES.costs
    assert data.references[""].labels is SAMPLES.labels
    assert data.classes == 3


def test_the_samples_of_an_answer_are_counted_by_the_median_answer_and_copies_once() -> None:
    samples = population(0, 20)
    samples.labels[:] = samples.classes
    uneven = samples.take(np.flatnonzero((samples.classes.numpy() != 0) | (np.arange(60) < 3)))
    assert evidence_data(uneven).samples_per_answer == 20
    copies = samples.take(np.repeat(np.arange(60), 10))
    assert evidence_data(copies).samples_per_answer == 20
    accounts = dataclasses.replace(copies, by_account=True)
    assert evidence_data(accounts).samples_per_answer == 200
