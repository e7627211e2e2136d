"""RangeDomain: data of one kind, the victim trained on it, its strangers and its honest users' shifts."""

import enum
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

STRANGERS = 1_500

Shift = Callable[[Tensor, np.random.Generator], Tensor]
# (legitimate inputs that the thief owns, number of queries, generator) -> queries
StrangerMaker = Callable[[Tensor, int, np.random.Generator], Tensor]


class InputKind(enum.Enum):
    """Kind of the victim's inputs."""

    IMAGES = "images"  # float32 [n, channels, height, width], multiples of 1/255 from 0 to 1
    TABLE = "table"  # float32 [n, columns]: standardised numbers, then categories as one-hot columns
    TOKENS = "tokens"  # int64 [n, length], 0 is padding


@dataclass(frozen=True)
class LabelledInputs:
    """Inputs [n, ...] of a victim and their true classes int64 [n].

    What a copy learns from has the victim's answers in their place: probabilities float32 [n, classes].
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "LabelledInputs":
        """Return those at the positions int64 [m], in that order."""
        return LabelledInputs(self.inputs[index], self.labels[index])


@dataclass(frozen=True)
class Halves:
    """Test data of one seed: samples that calibrate, and samples that users send afterwards."""

    calibration: LabelledInputs
    fresh: LabelledInputs


@dataclass(frozen=True)
class StrangerKind:
    """A way to make illegitimate queries; `is_derived` if it copies pixels, values or words of legitimate ones."""

    make: StrangerMaker
    is_derived: bool


@dataclass(frozen=True)
class RangeDomain:
    """Data, victim, strangers and honest shifts.

    `victim` is a network in evaluation mode, inputs [n, ...] -> logits [n, classes]. `calibration` test samples
    calibrate, the rest are fresh users'. `strangers` and `shifts` are keyed by the names that tables show.
    """

    name: str
    kind: InputKind
    classes: tuple[str, ...]
    victim: nn.Module
    training: LabelledInputs
    test: LabelledInputs
    calibration: int
    strangers: Mapping[str, StrangerKind]
    shifts: Mapping[str, Shift]

    def halves(self, seed: int) -> Halves:
        """Divide the test data at random."""
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(self.test)))
        return Halves(self.test.take(order[: self.calibration]), self.test.take(order[self.calibration :]))

    def stranger_queries(self, name: str, owned: Tensor, seed: int, count: int = STRANGERS) -> Tensor:
        """Return `count` strangers [count, ...] of the kind `name`; the derived ones are made of `owned` inputs.

        The same for the same arguments, whatever other kinds there are. Raises DataMissing.
        """
        return self.strangers[name].make(owned, count, _generator(seed, name)).contiguous()

    def shifted(self, name: str, inputs: Tensor, seed: int) -> Tensor:
        """Return all inputs in the same order under the shift `name`."""
        return self.shifts[name](inputs, _generator(seed, name)).contiguous()


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(name.encode())))
