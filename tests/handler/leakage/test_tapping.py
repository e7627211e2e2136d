"""Taps on a recorder's model: its calls then show the features and the inner layers."""

import pytest
import torch
from torch import nn

from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Recorder
from calpow.handler.leakage.tapping import find_depths, find_features, tap_depths

EXAMPLE = ModelInputs.of(torch.rand(2, 6))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 3)).eval())


def test_calls_show_the_layers_that_were_found(recorder: Recorder) -> None:
    assert recorder.replay(EXAMPLE).depths == {}
    assert find_features(recorder, EXAMPLE).name == "4"
    assert find_depths(recorder, EXAMPLE) == ("1",)
    call = recorder.replay(EXAMPLE)
    assert call.features is not None
    assert {name: tuple(numbers.shape) for name, numbers in call.depths.items()} == {"1": (2, 8)}
    assert tuple(call.features.shape) == (2, 7)


def test_layers_are_added_to_those_tapped_before_and_tapped_once(recorder: Recorder) -> None:
    tap_depths(recorder, ["1"])
    first = recorder.depths
    tap_depths(recorder, ["1"])
    assert recorder.depths is first
    tap_depths(recorder, ["3"])
    assert list(recorder.replay(EXAMPLE).depths) == ["1", "3"]
    hooks = [len(module._forward_hooks) for name, module in recorder.model.named_modules() if name]
    assert hooks == [0, 1, 0, 1, 0]


def test_a_layer_that_does_not_exist_is_a_misconfiguration(recorder: Recorder) -> None:
    with pytest.raises(GateMisconfigured, match="cannot be looked into: the victim's model has no layer stem"):
        tap_depths(recorder, ["stem"])
    assert recorder.depths is None


def test_a_model_that_refuses_the_example_is_a_misconfiguration(recorder: Recorder) -> None:
    for find in (find_features, find_depths):
        with pytest.raises(GateMisconfigured, match="cannot be"):
            find(recorder, ModelInputs.of(torch.rand(2, 5)))


def test_calls_outside_a_recording_leave_nothing_behind(recorder: Recorder) -> None:
    tap_depths(recorder, ["1"])
    recorder.model(torch.rand(4, 6))
    assert recorder.depths is not None
    assert recorder.depths.take() == {}
    with pytest.raises(RuntimeError), recorder.recording():
        recorder.model(torch.rand(4, 5))
    assert recorder.depths.take() == {}
