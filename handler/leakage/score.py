"""The interface of leakage scores, with their inputs and results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Part = TypeVar("Part")

# The largest cost by a score without an upper bound.
ODDEST = 1e12


class VictimOutput(Flag):
    """Parts of a pass of the victim that a score is computed from."""

    INPUTS = auto()
    IDS = auto()
    PROBABILITIES = auto()
    LOGITS = auto()
    FEATURES = auto()
    PROJECTION = auto()
    DEPTHS = auto()
    VOTES = auto()


class SampleBatch(NamedTuple):
    """Inputs, answers and features of n samples, from which the scores are computed.

    What no score needs is None or empty. Tensors are on the victim's device, but for the log-probabilities. Few numbers
    a sample are arrays: on these, a call of numpy takes a third of the time of torch's.

    answers: int64 `[n]`, the class of the victim's answer.
    inputs: `[n, *input_shape]`.
    ids: the whole numbers `[m, ...]` of the m inputs of each call of the model, n in all.
    log_probabilities: float64 `[n, classes]` of the answers, each row normalised; on the CPU.
    logits: float32 `[n, classes]`, as the model returned them.
    features: float32 `[n, f]`, the victim's representation before its last layer, or its output where no such layer
        can be followed; `lengths`, float32 `[n]`, are their lengths.
    projected: float32 `[n, d]`, the features on the principal axes of the training data.
    depths: float32 `[n, f]` of each inner layer that is looked into, by its name.
    votes: int64 `[n, classes]` of the teachers.
    """

    answers: Array
    inputs: Tensor | None = None
    ids: Sequence[Tensor] = ()
    log_probabilities: Tensor | None = None
    logits: Array | None = None
    features: Tensor | None = None
    lengths: Array | None = None
    projected: Tensor | None = None
    depths: Mapping[str, Tensor] = MappingProxyType({})
    votes: Array | None = None


@dataclass(frozen=True)
class ScoredSamples:
    """Costs and classes of a batch of n samples.

    `costs` is float64 `[n, k]` by k scores, finite numbers of any sign; `labels` is int64 `[n]`, the class that each
    sample is taken for. Both are on the CPU.
    """

    costs: Tensor
    labels: Tensor


class Score(Protocol):
    """Maps a sample to its cost, one number: how odd it is, or how much the answer would reveal. Odder costs more."""

    @property
    def needs(self) -> VictimOutput:
        """The members of a SampleBatch that must be there."""
        ...

    @property
    def highest(self) -> float:
        """The largest possible cost of a sample, or ODDEST where there is no upper bound."""
        ...

    def costs(self, batch: SampleBatch) -> Array:
        """Return the costs `[n]` of n samples, NaN or infinite where none can be computed.

        Raises ValueError when the batch lacks what the score needs. The caller silences numpy's warnings of numbers
        that overflow.
        """
        ...


def required(part: Part | None, name: str) -> Part:
    """Return a part of a batch that a score needs. Raises ValueError when it is missing."""
    if part is None:
        raise ValueError(f"this score needs the victim's {name}")
    return part


def array_of(tensor: Tensor) -> Array:
    """Return the numbers of a tensor on any device, which share its memory where that is the CPU's."""
    array: Array = tensor.cpu().numpy()
    return array


def row_lengths(rows: Array) -> Array:
    """Return the Euclidean lengths of rows `[n, d]`: `[n]`."""
    lengths: Array = np.sqrt(np.add.reduce(rows * rows, axis=1))
    return lengths
