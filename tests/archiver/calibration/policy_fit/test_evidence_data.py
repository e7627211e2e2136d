"""The samples of a fit by kind: what scores are compared with, and what is only shown."""

from calpow.archiver.calibration.policy_fit.evidence_data import EvidenceData
from tests.support.scored_samples import population, strangers

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
