"""What every leakage metric offers the gate, and what it may look at."""

from dataclasses import dataclass
from enum import Flag, auto
from typing import Protocol

from torch import Tensor


class Need(Flag):
    """What a metric wants of the victim besides the input it would get."""

    NOTHING = 0
    PROBABILITIES = auto()
    FEATURES = auto()


@dataclass(frozen=True)
class Seen:
    """A batch of n samples and, as far as the metrics need it, what the victim makes of them.

    `inputs` is `[n, *input_shape]`, on the victim's device; `log_probabilities` float64 `[n, classes]` of the
    victim's answer, each row normalised; `features` float32 `[n, f]`, the victim's representation before its last
    layer, or its output where that cannot be had.
    """

    inputs: Tensor
    log_probabilities: Tensor | None = None
    features: Tensor | None = None


@dataclass(frozen=True)
class Priced:
    """A batch of n priced samples.

    `costs` is float64 `[n]`, at least zero, or `[n, k]` for k metrics together; `labels` is int64 `[n]`, the class
    the metric takes each sample for. Both on the CPU.
    """

    costs: Tensor
    labels: Tensor


class Metric(Protocol):
    """Maps samples to one cost each: how much answering them would give away."""

    @property
    def needs(self) -> Need:
        """What of `Seen` must be there."""
        ...

    @property
    def highest(self) -> float:
        """The most that any query can cost."""
        ...

    def price(self, seen: Seen) -> Priced:
        """Price a batch of n samples: costs `[n]`."""
        ...
