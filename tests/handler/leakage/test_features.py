"""Features of victims of every kind, taken without a change to the victim."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from calpow.handler.leakage.features import FeatureTap

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
    return FeatureTap(model, lambda: model(INPUTS[:2]))


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
    tap = FeatureTap(model, lambda: model(INPUTS[:2].bfloat16()))
    assert tap(lambda: model(INPUTS.bfloat16()))[1].dtype == torch.float32


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
