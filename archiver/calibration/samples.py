"""Samples of queries with their costs, priced as a worker would price them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calpow.archiver.payloads import Payload, PayloadFolder, Preprocessor, model_inputs
from calpow.handler.leakage.score import ScoredSamples

BATCH = 64

Price = Callable[[Tensor], ScoredSamples]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """Legitimate samples: `costs` is float64 `[n, scores]`, the other tensors are int64 `[n]`; all are on the CPU.

    `labels` is the class of the victim's answer, `classes` the true class. Samples with the same number in `groups`
    belong together. With `by_account`, a group is what one account sent, in that account's mixture of classes.
    """

    costs: Tensor
    labels: Tensor
    classes: Tensor
    groups: Tensor
    class_names: tuple[str, ...]
    by_account: bool = False

    @classmethod
    def of_arrays(
        cls,
        costs: Floats,
        labels: Ints,
        classes: Ints,
        groups: Ints,
        class_names: tuple[str, ...],
        *,
        by_account: bool = False,
    ) -> "Samples":
        """Return samples that share the memory of these arrays."""
        return cls(
            torch.from_numpy(costs),
            torch.from_numpy(labels),
            torch.from_numpy(classes),
            torch.from_numpy(groups),
            class_names,
            by_account,
        )

    @property
    def first_costs(self) -> Floats:
        """The costs by the first score, `[n]`."""
        costs: Floats = self.costs[:, 0].numpy()
        return costs

    def take(self, index: Ints) -> "Samples":
        """Return the samples at these positions, which may repeat."""
        at = torch.from_numpy(index)
        return replace(
            self,
            costs=self.costs.index_select(0, at),
            labels=self.labels.index_select(0, at),
            classes=self.classes.index_select(0, at),
            groups=self.groups.index_select(0, at),
        )

    def groups_per_class(self) -> list[int]:
        """Return the number of groups of each class."""
        classes, groups = self.classes.numpy(), self.groups.numpy()
        return [len(np.unique(groups[classes == index])) for index in range(len(self.class_names))]


def price_inputs(inputs: Tensor, price: Price) -> ScoredSamples:
    """Price many inputs, batch by batch."""
    return _concatenate([price(batch) for batch in torch.split(inputs, BATCH)])


def price_folder(victim: Preprocessor, folder: PayloadFolder, price: Price, name: str = "pricing") -> Samples:
    """Price every payload of a folder as the victim's handler reads it; `name` is the progress bar's.

    Raises FolderError when the victim cannot read a payload.
    """
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(payload.unit for payload in folder.payloads))}
    counted = CountedInputs(model_inputs(victim, folder.payloads, name))
    priced = _concatenate([price(torch.cat(batch)) for batch in batches(counted)])
    sizes = torch.tensor(counted.sizes)
    return Samples(
        costs=priced.costs,
        labels=priced.labels,
        classes=torch.tensor([payload.label for payload in folder.payloads]).repeat_interleave(sizes),
        groups=torch.tensor([numbers[payload.unit] for payload in folder.payloads]).repeat_interleave(sizes),
        class_names=folder.class_names,
    )


def some_inputs(victim: Preprocessor, payloads: Sequence[Payload], most: int, seed: int) -> Tensor:
    """Return the inputs `[n, *input_shape]` of up to `most` payloads, chosen at random. Raises FolderError."""
    chosen = np.random.default_rng(seed).permutation(len(payloads))[:most]
    return torch.cat(list(model_inputs(victim, [payloads[index] for index in sorted(chosen)])))


@dataclass
class CountedInputs:
    """Iterates over tensors and records in `sizes` how many samples each held."""

    tensors: Iterable[Tensor]

    def __post_init__(self) -> None:
        self.sizes: list[int] = []

    def __iter__(self) -> Iterator[Tensor]:
        for tensor in self.tensors:
            self.sizes.append(len(tensor))
            yield tensor


def batches(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Group tensors until a group holds BATCH samples or more."""
    batch: list[Tensor] = []
    for tensor in tensors:
        batch.append(tensor)
        if sum(map(len, batch)) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _concatenate(parts: Sequence[ScoredSamples]) -> ScoredSamples:
    return ScoredSamples(torch.cat([part.costs for part in parts]), torch.cat([part.labels for part in parts]))
