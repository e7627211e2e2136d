"""Samples of queries with their costs, priced as a worker would price them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calpow.archiver.data.payloads import CallSource, Payload, PayloadFolder
from calpow.archiver.progress import progress
from calpow.archiver.victim.recorded_calls import recorded_calls
from calpow.handler.errors import CalibrationError
from calpow.handler.leakage.meter import Meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.score import ScoredSamples

BATCH = 64
# Numbers in the inputs of one call that the tools make: a network takes longer for each of many large images than for
# each of a few, because what it computes fits into no cache.
MOST_NUMBERS = 2**21

Price = Callable[[Sequence[Call]], ScoredSamples]
ArgumentsChange = Callable[[ModelInputs], ModelInputs]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# Whether to give a change up: by its name, the number of samples so far, by how many fewer of them are answered rightly
# after the change, and the share of all payloads that have been read.
GivesUp = Callable[[str, int, int, float], bool]


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


def price_calls(calls: Iterable[Call], price: Price) -> ScoredSamples:
    """Price the samples of many calls, some calls at a time."""
    return concatenate([price(batch) for batch in batches(calls)])


@dataclass(frozen=True)
class PricedFolder:
    """The samples of a folder's payloads, and by name the same samples after a change, in the same order.

    given_up: the first of them after changes that were not priced further.
    """

    samples: Samples
    changed: Mapping[str, ScoredSamples]
    given_up: Mapping[str, ScoredSamples] = field(default_factory=dict)


def price_folder(
    victim: CallSource,
    folder: PayloadFolder,
    meter: Meter,
    name: str = "pricing",
    changes: Mapping[str, ArgumentsChange] | None = None,
    known: Mapping[Payload, Sequence[Call]] = MappingProxyType({}),
    gives_up: GivesUp | None = None,
) -> PricedFolder:
    """Price every payload of a folder as the victim's handler answers it; `name` is that of the progress.

    The handler does not run on payloads whose calls are `known`, recorded with what the meter needs. The model is
    called again on the arguments of each call after each of `changes`, until `gives_up` says that the samples so far
    are enough. Raises FolderError when the victim cannot read a payload, and CalibrationError when the model does not
    answer a changed sample.
    """
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(payload.unit for payload in folder.payloads))}
    classes: list[int] = []
    groups: list[int] = []
    priced: list[ScoredSamples] = []
    changed = _ChangedSamples(changes or {}, meter)
    read = 0

    def counted() -> Iterator[Call]:
        nonlocal read
        for payload, calls in recorded_calls(victim, folder.payloads, known=known):
            samples = sum(meter.samples(call) for call in calls)
            classes.extend([payload.label] * samples)
            groups.extend([numbers[payload.unit]] * samples)
            read += 1
            yield from calls

    with progress(name, "payload", len(folder.payloads)) as advance:
        shown = done = 0
        for batch in batches(counted()):
            scored = meter.price_calls(batch)
            priced.append(scored)
            changed.add(batch, scored.labels, torch.tensor(classes[done : done + len(scored.labels)]))
            done += len(scored.labels)
            if gives_up is not None and read < len(folder.payloads):
                changed.give_up(gives_up, read / len(folder.payloads))
            advance(read - shown)
            shown = read
    whole = concatenate(priced)
    samples = Samples(whole.costs, whole.labels, torch.tensor(classes), torch.tensor(groups), folder.class_names)
    return PricedFolder(samples, changed.of(changed.open), changed.of(changed.given_up))


class _ChangedSamples:
    """Samples after each of the changes that are `open`, and the first ones after those that were `given_up`."""

    def __init__(self, changes: Mapping[str, ArgumentsChange], meter: Meter) -> None:
        self.open = dict(changes)
        self.given_up: list[str] = []
        self._meter = meter
        self._parts: dict[str, list[ScoredSamples]] = {name: [] for name in changes}
        self._lost = dict.fromkeys(changes, 0)
        self._samples = 0

    def add(self, calls: Sequence[Call], answers: Tensor, classes: Tensor) -> None:
        """Price the samples of calls after each change that is open; unchanged, they are answered with `answers`."""
        if not self.open:
            return
        self._samples += len(answers)
        arguments = joined_arguments(calls, [self._meter.samples(call) for call in calls])
        for name, change in self.open.items():
            scored = _price_changed(arguments, name, change, self._meter)
            self._parts[name].append(scored)
            self._lost[name] += int((answers == classes).sum() - (scored.labels == classes).sum())

    def give_up(self, gives_up: GivesUp, share: float) -> None:
        """Price no further samples after changes that are to be given up; this share of the payloads was read."""
        for name in list(self.open):
            if gives_up(name, self._samples, self._lost[name], share):
                del self.open[name]
                self.given_up.append(name)

    def of(self, names: Iterable[str]) -> dict[str, ScoredSamples]:
        """Return the samples after the changes of these names."""
        return {name: concatenate(self._parts[name]) for name in names}


def _price_changed(arguments: Sequence[ModelInputs], name: str, change: ArgumentsChange, meter: Meter) -> ScoredSamples:
    """Price the samples of calls with these arguments after a change of this name."""
    try:
        calls = [meter.recorder.replay(change(inputs)) for inputs in arguments]
        return meter.price_calls(calls)
    except Exception as problem:  # whatever the victim's model raises
        raise CalibrationError(
            f"the model does not answer samples after the change {name} ({type(problem).__name__}: {problem}): leave it"
            " out of --tolerate"
        ) from problem


def split_batch(inputs: Tensor) -> tuple[Tensor, ...]:
    """Return inputs `[n, ...]` in batches of BATCH samples at most, and fewer of large samples."""
    return torch.split(inputs, min(BATCH, max(1, MOST_NUMBERS // max(1, inputs[:1].numel()))))


def joined_arguments(calls: Sequence[Call], samples: Sequence[int]) -> list[ModelInputs]:
    """Return the arguments of calls as batches, where each is one of its number of samples, all of one shape."""
    arguments = [call.arguments for call in calls]
    tensors = [inputs.only_tensor for inputs in arguments]
    batched = [
        tensor
        for tensor, count in zip(tensors, samples, strict=True)
        if tensor is not None and tensor.dim() >= 2 and len(tensor) == count
    ]
    if len(batched) < len(calls) or len({(tensor.shape[1:], tensor.dtype) for tensor in batched}) > 1:
        return arguments
    return [arguments[0].replaced([part]) for part in split_batch(torch.cat(batched))]


def batches(calls: Iterable[Call]) -> Iterator[list[Call]]:
    """Group calls until a group holds BATCH of them, or of their rows, or more."""
    batch: list[Call] = []
    size = 0
    for call in calls:
        batch.append(call)
        size += call.rows or 1
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def concatenate(parts: Sequence[ScoredSamples]) -> ScoredSamples:
    """Put priced samples one after another."""
    return ScoredSamples(torch.cat([part.costs for part in parts]), torch.cat([part.labels for part in parts]))
