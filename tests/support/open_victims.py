"""Victims of the tests' own handlers, open without an archive."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from calpow.archiver.victim.victim_archive import OpenVictim
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.victim import Victim
from tests.support.victims.build import vector_net

Read = Callable[[str], ModelInputs]


class TextHandler:
    """Handler that reads each request's text in a way of its own and calls the model for it."""

    def __init__(self, model: nn.Module, read: Read) -> None:
        self.model = model
        self.context = None
        self._read = read

    def handle(self, data: list[Mapping[str, bytes]], context: object) -> list[str]:
        """Answer one request after another."""
        for row in data:
            arguments = self._read(row["body"].decode())
            with torch.inference_mode():
                self.model(*arguments.arguments, **arguments.named)
        return ["answered"] * len(data)


def open_with(model: nn.Module, read: Read) -> OpenVictim:
    """Return a victim whose handler reads the arguments of its model from a text."""
    context = SimpleNamespace(metrics=SimpleNamespace())
    service = SimpleNamespace(_entry_point=TextHandler(model, read).handle, context=context)
    return OpenVictim("0" * 64, Victim(service))


def numbers(text: str) -> Tensor:
    """Return the numbers of a text, separated by commas, `[n]`."""
    return torch.tensor([float(number) for number in text.split(",")])


class FirstTensorNet(nn.Module):
    """Model that takes any arguments, and classifies the vectors `[n, 4]` in the first tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = vector_net().layer

    def forward(self, *arguments: object, **named: object) -> Tensor:
        """Return logits `[n, 4]`."""
        logits: Tensor = self.layer(ModelInputs(arguments, named).tensors[0].float())
        return logits


class PooledNet(nn.Module):
    """Model of sequences `[n, length, 4]` of any length: it classifies their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = vector_net().layer

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits `[n, 4]`."""
        logits: Tensor = self.layer(rows.float().mean(dim=1))
        return logits
