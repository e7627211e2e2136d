"""Training of small networks on the spot, alike in every run."""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the customary name


def new_network(name: str) -> nn.Module:
    """Return a new network of a model file."""
    module = importlib.import_module(f"tests.support.victims.own.networks.{name}")
    (definition,) = (
        value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__
    )
    network: nn.Module = definition()
    return network


def fit(network: nn.Module, inputs: object, labels: Tensor) -> nn.Module:
    """Train a network with one argument; it must learn the labels `[n]`."""
    return train(network, lambda network: network(inputs), labels)


def train(network: nn.Module, forward: Callable[[nn.Module], Tensor], labels: Tensor, steps: int = 80) -> nn.Module:
    descend(network, lambda: F.cross_entropy(forward(network), labels), steps)
    with torch.no_grad():
        accuracy = (forward(network).argmax(1) == labels).float().mean().item()
    assert accuracy > 0.8, f"{type(network).__name__} is right in {accuracy:.0%}"
    return network


def descend(network: nn.Module, loss: Callable[[], Tensor], steps: int = 80) -> None:
    """Minimise a loss by the network's weights, which start from the same ones in every run."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for weights in network.parameters():
            if weights.dim() > 1:
                weights.copy_(torch.randn(weights.shape, generator=generator) / weights.shape[-1] ** 0.5)
            else:
                weights.zero_()
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1.0)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]  # torch
        optimiser.step()
    network.eval()
