"""The interface of leakage scores, with their inputs and results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Protocol

from torch import Tensor

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


@dataclass(frozen=True, kw_only=True)
class SampleBatch:
    """Inputs, answers and features of n samples, from which the scores are computed.

    What no score needs is None or empty. All tensors but the log-probabilities are on the victim's device.

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

    answers: Tensor
    inputs: Tensor | None = None
    ids: Sequence[Tensor] = ()
    log_probabilities: Tensor | None = None
    logits: Tensor | None = None
    features: Tensor | None = None
    lengths: Tensor | None = None
    projected: Tensor | None = None
    depths: Mapping[str, Tensor] = field(default_factory=dict)
    votes: Tensor | None = None


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

    def costs(self, batch: SampleBatch) -> Tensor:
        """Return the costs `[n]` of n samples, NaN or infinite where none can be computed.

        Raises ValueError when the batch lacks what the score needs.
        """
        ...


def required(part: Tensor | None, name: str) -> Tensor:
    """Return a part of a batch that a score needs. Raises ValueError when it is missing."""
    if part is None:
        raise ValueError(f"this score needs the victim's {name}")
    return part
