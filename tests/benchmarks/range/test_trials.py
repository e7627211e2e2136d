"""A trial of a small domain, from its training data to its figures."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from benchmarks.range.domain import RangeDomain
from benchmarks.range.trials.judgement import Judgement, judge
from calpow.archiver.calibration.synthetic_inputs.legitimate_values import TensorKind
from calpow.archiver.calibration.synthetic_inputs.tolerances import DEFAULT
from tests.support.clouds import clouds_domain, small_range

pytestmark = pytest.mark.training


@dataclass(frozen=True)
class Trial:
    """A domain, and its judgement under the policy `evidence`."""

    domain: RangeDomain
    judgement: Judgement


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Two clouds of points, a perceptron that tells them apart, and uniform strangers around them."""
    with small_range(tmp_path_factory.mktemp("range")):
        domain = clouds_domain()
        yield Trial(domain, judge(domain, 1, "evidence", None))


def test_a_trial_shows_users_who_pay_little_and_thieves_who_pay_much(trial: Trial) -> None:
    judgement = trial.judgement
    assert judgement.tolerated == DEFAULT[TensorKind.quantities]
    assert judgement.honest["uniform"]["300"] < 10
    assert judgement.shifts["noise .02"]["uniform"] < 10
    assert judgement.repeaters < 2
    thief = judgement.strangers["uniform"]
    assert thief["pure"] > 1_000
    assert thief["pure"] > thief["half"] > thief["twentieth"]
    assert thief["theft"] < thief["fifth"]
    assert thief["copies"] >= thief["copies, all pass"]


def test_what_was_computed_is_not_computed_again(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("computed again")

    for function in ("scored_sets._Scorer._score", "policies._fit", "stealing.thefts"):
        monkeypatch.setattr(f"benchmarks.range.trials.{function}", fail)
    assert judge(trial.domain, 1, "evidence", None) == trial.judgement
