"""The interface of leakage scores, with their inputs and results."""

from dataclasses import dataclass
from enum import Flag, auto
from typing import Protocol

from torch import Tensor


class VictimOutput(Flag):
    """Parts of a pass of the victim that a score is computed from."""

    INPUTS = auto()
    PROBABILITIES = auto()
    FEATURES = auto()


@dataclass(frozen=True)
class SampleBatch:
    """Inputs, answers and features of n samples, from which the scores are computed.

    `inputs` is `[n, *input_shape]`, on the victim's device, or None where inputs differ in shape or are several
    tensors; `log_probabilities` float64 `[n, classes]` of the victim's answer, each row normalised; `features` float32
    `[n, f]`, the victim's representation before its last layer, or its output where no such layer can be followed.
    """

    inputs: Tensor | None
    log_probabilities: Tensor | None = None
    features: Tensor | None = None


@dataclass(frozen=True)
class ScoredSamples:
    """Costs and classes of a batch of n samples.

    `costs` is float64 `[n]`, at least zero, or `[n, k]` for k scores together; `labels` is int64 `[n]`, the class that
    each sample is taken for. Both are on the CPU.
    """

    costs: Tensor
    labels: Tensor


class Score(Protocol):
    """Maps a sample to its cost, one number: how much the answer would reveal. Odder samples cost more."""

    @property
    def needs(self) -> VictimOutput:
        """The members of a SampleBatch that must not be None."""
        ...

    @property
    def highest(self) -> float:
        """The largest possible cost of a sample."""
        ...

    def price(self, batch: SampleBatch) -> ScoredSamples:
        """Return the costs `[n]` and the classes of n samples. Raises ValueError when the batch lacks what it needs."""
        ...
