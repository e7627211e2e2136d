"""The cosine score of Generalized ODIN: known answers, with and without a last layer, and the moved inputs."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calpow.handler.leakage.score import SampleBatch, VictimOutput
from calpow.handler.leakage.scores.odin import MAGNITUDES, Odin, Perturbation, choose_magnitude, class_cosines
from calpow.handler.leakage.taps.features import FeatureTap, find_layer

WEIGHT = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
INPUTS = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def batch_of(features: Tensor) -> SampleBatch:
    return SampleBatch(answers=np.zeros(len(features), np.int64), features=features)


def costs(odin: Odin, features: Tensor) -> list[float]:
    return list(odin.costs(batch_of(features)).tolist())


def test_known_cosines() -> None:
    features = torch.tensor([[3.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, -1.0, 0.0], [0.0, 9.0, 0.0]])
    half = math.sqrt(0.5)
    assert costs(Odin(WEIGHT), features) == pytest.approx([0.0, 1 - half, 1.0, 1 + half, 0.0], abs=1e-12)


def test_without_weights_the_axes_stand_for_the_classes() -> None:
    assert costs(Odin(None), torch.tensor([[0.0, 5.0], [3.0, 4.0]])) == pytest.approx([0.0, 0.2])


@pytest.mark.parametrize("weight", [WEIGHT, None])
def test_features_that_say_nothing_cost_the_most(weight: Tensor | None) -> None:
    odd = torch.tensor([[float("nan"), 0, 0], [float("inf"), 0, 0], [0.0, 0, 0], [1.0, 2.0, 3.0]])
    assert costs(Odin(weight), odd)[:3] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_sample_costs_the_same_alone_and_in_a_batch(dtype: torch.dtype) -> None:
    odin, features = Odin(torch.randn(3, 4, generator=torch.Generator().manual_seed(2))), INPUTS.to(dtype)
    alone = [costs(odin, row[None])[0] for row in features]
    assert costs(odin, features) == pytest.approx(alone, rel=1e-12)
    assert costs(odin, features.T.contiguous().T) == pytest.approx(alone, rel=1e-12)


def victim() -> tuple[nn.Module, FeatureTap]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    return model, FeatureTap(model, find_layer(model, lambda: model(INPUTS[:2])))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_inputs_are_moved_towards_a_higher_score_in_any_mode(mode: type) -> None:
    model, tap = victim()
    with mode():
        inputs = INPUTS.clone()
        plain = Odin(tap.weight).costs(batch_of(tap(lambda: model(inputs))[1]))
        moved = Odin(tap.weight, Perturbation(model, tap, 0.0025))
        assert moved.needs is VictimOutput.INPUTS
        costs_there = moved.costs(batch_of(INPUTS)._replace(inputs=inputs))
    assert bool((costs_there < plain).all())
    assert torch.equal(inputs, INPUTS)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_magnitude_with_the_largest_summed_score_is_chosen() -> None:
    model, tap = victim()
    assert tap.weight is not None
    inputs = batch_of(INPUTS)._replace(inputs=INPUTS)
    sums = [
        float((1 - Odin(tap.weight, Perturbation(model, tap, magnitude)).costs(inputs)).sum())
        for magnitude in MAGNITUDES
    ]
    assert choose_magnitude(model, tap, [INPUTS[:2], INPUTS[2:]]) == MAGNITUDES[sums.index(max(sums))]


def test_cosines_are_those_of_torch() -> None:
    directions = nn.functional.normalize(torch.randn(3, 4, dtype=torch.float64), dim=1)
    expected = nn.functional.cosine_similarity(INPUTS.double()[:, None], directions[None], dim=-1)
    assert torch.allclose(class_cosines(INPUTS, directions), expected, atol=1e-12)
