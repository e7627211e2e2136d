"""Features of victims of every kind, taken without a change to the victim."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from calpow.handler.errors import VictimError
from calpow.handler.leakage.taps.features import ITSELF, FeatureTap, find_layer

INPUTS = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8, 3)  # defined first, used last
        self.first = nn.Linear(16, 8)

    def features(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.first(inputs.flatten(1)).relu()
        return features

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.last(self.features(inputs))
        return output


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network().eval()


def tapped(model: Callable[[Tensor], Tensor]) -> FeatureTap:
    return FeatureTap(model, find_layer(model, lambda: model(INPUTS[:2])))


def test_the_features_are_what_enters_the_layer_executed_last(network: Network) -> None:
    tap = tapped(network)
    output, features = tap(lambda: network(INPUTS))
    assert torch.equal(output, network(INPUTS))
    assert torch.equal(features, network.features(INPUTS))
    assert tap.weight is not None
    assert torch.equal(tap.weight, network.last.weight)


def test_the_victim_keeps_its_parameters_and_answers(network: Network) -> None:
    state = {name: value.clone() for name, value in network.state_dict().items()}
    before = network(INPUTS)
    tapped(network)(lambda: network(INPUTS))
    assert torch.equal(network(INPUTS), before)
    assert network.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "make",
    [
        lambda net: torch.jit.trace(net, INPUTS),  # type: ignore[no-untyped-call]  # torch
        lambda net: lambda inputs: net(inputs),
        lambda _: nn.Sequential(nn.Flatten(), nn.ReLU()),
        lambda net: nn.Sequential(net, nn.Unflatten(1, (3, 1, 1)), nn.Conv2d(3, 4, 1), nn.Flatten()),
    ],
)
def test_without_a_last_linear_layer_the_output_itself_serves(
    network: Network, make: Callable[[Network], Callable[[Tensor], Tensor]]
) -> None:
    model = make(network)
    tap = tapped(model)
    output, features = tap(lambda: model(INPUTS))
    assert torch.equal(features, output)
    assert tap.weight is None


def test_half_precision_becomes_float32(network: Network) -> None:
    model = network.to(torch.bfloat16)
    tap = FeatureTap(model, find_layer(model, lambda: model(INPUTS[:2].bfloat16())))
    assert tap(lambda: model(INPUTS.bfloat16()))[1].dtype == torch.float32


def test_a_layer_is_found_and_tapped_by_its_name(network: Network) -> None:
    assert find_layer(network, lambda: network(INPUTS[:1])) == "last"
    assert find_layer(nn.Sequential(network), lambda: network(INPUTS[:1])) == "0.last"
    first = FeatureTap(network, "first")
    first.arm()
    network(INPUTS)
    taken = first.take()
    assert taken is not None
    assert torch.equal(taken, INPUTS.flatten(1))


def test_a_model_that_is_a_linear_layer_itself_is_tapped() -> None:
    layer = nn.Linear(4, 3)
    name = find_layer(layer, lambda: layer(torch.rand(2, 4)))
    assert name == ITSELF
    inputs = torch.rand(2, 4)
    assert torch.equal(FeatureTap(layer, name)(lambda: layer(inputs))[1], inputs)


@pytest.mark.parametrize("name", ["lost", "relu", ""])
def test_a_layer_that_the_model_lacks_is_named(name: str) -> None:
    model = nn.Sequential()
    model.add_module("relu", nn.ReLU())
    if name:
        with pytest.raises(VictimError, match=f"no linear layer {name}, whose input was calibrated with"):
            FeatureTap(model, name)
    else:
        assert FeatureTap(model, name).layer is None


def test_one_sample_without_an_axis_of_the_batch_has_one_row_of_features() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    sample = torch.rand(4)
    name = find_layer(model, lambda: model(sample))
    assert name == "2"
    tap = FeatureTap(model, name)
    tap.arm()
    features = tap.features(model(sample).unsqueeze(0))
    assert features is not None
    assert torch.allclose(features, model[1](model[0](sample)).unsqueeze(0))


def test_a_layer_whose_rows_are_not_the_samples_has_no_features() -> None:
    tap = FeatureTap(nn.Linear(4, 3), ITSELF)
    tap.arm()
    assert tap.layer is not None
    tap.layer(torch.rand(5, 4))
    assert tap.features(torch.rand(2, 3)) is None
    assert tap.features(None) is None


def test_a_victim_that_fails_is_tapped_again_afterwards(network: Network) -> None:
    tap = tapped(network)

    def fail() -> Tensor:
        network(INPUTS)
        raise KeyError("the victim's own")

    with pytest.raises(KeyError, match="own"):
        tap(fail)
    assert torch.equal(tap(lambda: network(INPUTS))[1], network.features(INPUTS))


def test_a_run_that_leaves_the_layer_out_is_noticed(network: Network) -> None:
    tap = tapped(network)
    tap(lambda: network(INPUTS))
    with pytest.raises(RuntimeError, match="last layer"):
        tap(lambda: INPUTS)


def test_nothing_is_held_between_runs(network: Network) -> None:
    import gc
    import weakref

    tap = tapped(network)
    kept = weakref.ref(tap(lambda: network(INPUTS))[1])
    network(INPUTS)
    gc.collect()
    assert kept() is None
    assert tap._state.value is None


def test_threads_get_the_features_of_their_own_runs(network: Network) -> None:
    tap = tapped(network)
    wrong: list[int] = []

    def work(number: int) -> None:
        inputs = torch.full_like(INPUTS, float(number))
        expected = network.features(inputs)
        for _ in range(50):
            if not torch.equal(tap(lambda: network(inputs))[1], expected):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("has_layer", [True, False])
def test_a_bare_number_is_the_answer_to_one_sample(has_layer: bool) -> None:
    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(16, 1)

        def forward(self, inputs: Tensor) -> Tensor:
            number: Tensor = self.last(inputs.flatten(1)).sigmoid().squeeze()
            return number

    model = Squeezed().eval()
    tap = tapped(model) if has_layer else FeatureTap(model, "")
    tap.arm()
    features = tap.features(model(INPUTS[:1]))
    assert features is not None
    assert torch.equal(features, INPUTS[:1].flatten(1) if has_layer else model(INPUTS[:1]).reshape(1, 1))
    assert torch.equal(tap(lambda: model(INPUTS[:1]))[1], features)
