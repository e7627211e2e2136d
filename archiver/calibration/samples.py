"""Costs of payloads and of made-up inputs, as the worker would price them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from calpow.archiver.calibration.simulated_users import Samples
from calpow.archiver.payloads import Folder, Payload, Preprocessor
from calpow.archiver.payloads import samples as inputs_of
from calpow.handler.leakage.score import Priced

BATCH = 64

Price = Callable[[Tensor], Priced]


def price_inputs(inputs: Tensor, price: Price) -> Priced:
    """Price many inputs, batch by batch."""
    return _joined([price(batch) for batch in torch.split(inputs, BATCH)])


def price_folder(victim: Preprocessor, folder: Folder, price: Price, name: str = "pricing") -> Samples:
    """Price every payload of a folder, each as the victim's handler reads it; `name` is the progress bar's.

    Raises FolderError.
    """
    units = {unit: number for number, unit in enumerate(dict.fromkeys(each.unit for each in folder.payloads))}
    counted = Counted(inputs_of(victim, folder.payloads, name))
    priced = _joined([price(torch.cat(batch)) for batch in batches(counted)])
    owners = np.repeat(np.arange(len(folder.payloads)), counted.sizes)
    return Samples(
        costs=priced.costs.numpy(),
        labels=priced.labels.numpy(),
        classes=np.array([each.label for each in folder.payloads], dtype=np.int64)[owners],
        groups=np.array([units[each.unit] for each in folder.payloads], dtype=np.int64)[owners],
        class_names=folder.class_names,
    )


def some_inputs(victim: Preprocessor, payloads: Sequence[Payload], most: int, seed: int) -> Tensor:
    """The inputs of up to `most` payloads, chosen at random, `[n, *input_shape]`. Raises FolderError."""
    chosen = np.random.default_rng(seed).permutation(len(payloads))[:most]
    return torch.cat(list(inputs_of(victim, [payloads[index] for index in sorted(chosen)])))


@dataclass
class Counted:
    """Passes tensors on, and notes in `sizes` how many samples each held."""

    tensors: Iterable[Tensor]

    def __post_init__(self) -> None:
        self.sizes: list[int] = []

    def __iter__(self) -> Iterator[Tensor]:
        for tensor in self.tensors:
            self.sizes.append(len(tensor))
            yield tensor


def _joined(parts: Sequence[Priced]) -> Priced:
    return Priced(torch.cat([each.costs for each in parts]), torch.cat([each.labels for each in parts]))


def batches(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors in groups that hold BATCH samples or a few more."""
    batch: list[Tensor] = []
    for tensor in tensors:
        batch.append(tensor)
        if sum(len(each) for each in batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
