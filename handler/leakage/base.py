"""What every leakage metric offers the gate."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Priced:
    """A batch of n priced samples.

    `costs` is float64 `[n]`, at least zero; `labels` is int64 `[n]`, the class the metric takes each sample for.
    """

    costs: Tensor
    labels: Tensor


class Metric(Protocol):
    """Maps the victim's input tensors to one cost a sample."""

    def price(self, inputs: Tensor) -> Priced:
        """Price a batch of the victim's inputs, shape `[n, *input_shape]`."""
        ...
