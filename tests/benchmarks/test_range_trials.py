"""A trial of a small domain, from its training data to its figures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.range import cache, victims
from benchmarks.range.domain import InputKind, LabelledInputs, RangeDomain, StrangerKind
from benchmarks.range.shifts import table_shifts
from benchmarks.range.trials import honest, scored_sets, stealing
from benchmarks.range.trials.judgement import Judgement, judge
from benchmarks.range.trials.protection import VICTIM_SEED
from calpow.archiver.calibration.synthetic_inputs.legitimate_values import TensorKind
from calpow.archiver.calibration.synthetic_inputs.tolerances import DEFAULT

pytestmark = pytest.mark.training

COLUMNS = 6
# Users and queries that are simulated.
FEWER: Mapping[ModuleType, Mapping[str, object]] = {
    honest: {"USERS": 20, "LENGTHS": (100, 300), "SHIFTED_USERS": 20, "SHIFTED_LENGTHS": (100,), "REPEATERS": 20},
    stealing: {"THIEVES": 2, "QUERIES": 600, "COPY_QUERIES": 300, "MIXED": 500, "NEW_ACCOUNTS": 40, "PAST": 300},
    scored_sets: {"COPIED": 1, "COPIES": 300},
}


@dataclass(frozen=True)
class Trial:
    """A domain, and its judgement under the policy `evidence`."""

    domain: RangeDomain
    judgement: Judgement


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Two clouds of points, a perceptron that tells them apart, and uniform strangers around them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(cache.VARIABLE, str(tmp_path_factory.mktemp("range")))
        for module, fewer in FEWER.items():
            for name, value in fewer.items():
                monkeypatch.setattr(module, name, value)
        domain = clouds_domain()
        yield Trial(domain, judge(domain, 1, "evidence", None))


def clouds_domain() -> RangeDomain:
    """Return the domain; its victim is trained and cached."""
    rng = np.random.default_rng(0)
    training, test = clouds(600, rng), clouds(800, rng)
    recipe = victims.TrainingRecipe(epochs=4, batch=64, peak=1e-2, optimizer=victims.adam)
    return RangeDomain(
        name="clouds",
        kind=InputKind.TABLE,
        classes=("left", "right"),
        victim=victims.trained_victim("clouds", VICTIM_SEED, perceptron, recipe, training),
        training=training,
        test=test,
        calibration=400,
        strangers={"uniform": StrangerKind(uniform, is_derived=False)},
        shifts=table_shifts(COLUMNS),
    )


def perceptron() -> nn.Module:
    """Return a network, rows [n, COLUMNS] -> logits [n, 2]."""
    return nn.Sequential(nn.Linear(COLUMNS, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))


def clouds(count: int, rng: np.random.Generator) -> LabelledInputs:
    """Return points of two normal distributions."""
    labels = torch.from_numpy(rng.integers(2, size=count))
    points = torch.from_numpy(rng.standard_normal((count, COLUMNS))).float()
    return LabelledInputs(points + (2.0 * labels[:, None] - 1), labels)


def uniform(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return points far from most of the clouds."""
    return torch.from_numpy(rng.uniform(-6, 6, (count, COLUMNS))).float()


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
