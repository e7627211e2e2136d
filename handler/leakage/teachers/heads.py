"""Ensembles of teachers as torch modules: inputs float32 `[n, *input_shape]` -> votes int64 `[n, classes]`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from calpow.handler.leakage.score import Array, array_of


@dataclass(frozen=True)
class Heads:
    """All teachers' heads: scores = features `[n, f]` @ weight `[f, teachers * classes]` + bias; float32."""

    weight: Tensor
    bias: Tensor


class HeadEnsemble(nn.Module):
    """Teachers that share a trunk; all their heads are one matrix product."""

    weight: Tensor
    bias: Tensor

    def __init__(self, trunk: nn.Module, heads: Heads, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.classes = classes
        # Counting is fastest with one block per class instead of one per teacher, and with samples last.
        by_class = heads.weight.reshape(len(heads.weight), -1, classes).permute(2, 1, 0)
        self.register_buffer("weight", by_class.flatten(0, 1).contiguous())
        self.register_buffer("bias", heads.bias.reshape(-1, classes).T.reshape(-1, 1).contiguous())

    @classmethod
    def restored(cls, trunk: nn.Module, weights: Mapping[str, Tensor], classes: int) -> "HeadEnsemble":
        """Return the ensemble whose state_dict was stored. Raises RuntimeError or KeyError when it does not fit."""
        weight, bias = weights["weight"], weights["bias"]
        blank = Heads(weight.new_zeros(weight.shape[1], len(weight)), bias.new_zeros(len(weight)))
        ensemble = cls(trunk.to(weight.device), blank, classes)
        ensemble.load_state_dict(dict(weights))
        return ensemble.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return vote counts, int64 `[n, classes]`."""
        # Without a branch on values, of which torch.export makes no program.
        return count_votes(self.ballots(self.trunk(inputs)), self.classes)

    def ballots(self, features: Tensor) -> Tensor:
        """Return each teacher's class for features `[n, f]`: int64 `[teachers, n]`."""
        scores = torch.addmm(self.bias, self.weight, features.T)
        return ballots(scores.reshape(self.classes, -1, features.shape[0]))


class HeadVotes:
    """The votes of a HeadEnsemble, as a worker counts them for every request: fast for one sample."""

    def __init__(self, ensemble: HeadEnsemble) -> None:
        self._trunk = None if isinstance(ensemble.trunk, nn.Identity) else ensemble.trunk
        self._classes = ensemble.classes
        # Features first: the product of one sample then takes two thirds of the time. One block per class, as stored:
        # numpy then finds the best class of all teachers at once.
        self._weight = ensemble.weight.T.contiguous()
        self._bias = ensemble.bias.T.contiguous()

    def __call__(self, inputs: Tensor) -> Array:
        """Return vote counts, int64 `[n, classes]`, as the ensemble does."""
        features = inputs if self._trunk is None else self._trunk(inputs)
        scores = array_of(torch.addmm(self._bias, features, self._weight))
        return _counted(scores.reshape(len(scores), self._classes, -1))


def _counted(scores: Array) -> Array:
    """Return vote counts, int64 `[n, classes]`, of scores `[n, classes, teachers]`, as `ballots` and `count_votes` do.

    Each teacher votes for its highest score, the first in a tie.
    """
    samples, classes, teachers = scores.shape
    is_best = scores >= np.maximum.reduce(scores, axis=1, keepdims=True)
    # In 32 bits, the sums take half the time.
    votes: Array = np.add.reduce(is_best, axis=2, dtype=np.int32).astype(np.int64)
    # A tie leaves more votes than teachers, and NaN fewer. The argmax decides both, and takes several times as long.
    if np.add.reduce(votes, axis=None) != samples * teachers:
        votes = np.array([np.bincount(cast, minlength=classes) for cast in scores.argmax(axis=1)])
    return votes


class NetworkEnsemble(nn.Module):
    """Independent networks, one per teacher.

    They run in a plain loop: torch.func.vmap is slower at a batch of 64, and a program exported from it takes only one
    batch size. Decision 0022.
    """

    def __init__(self, networks: Sequence[nn.Module], classes: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.classes = classes
        self.eval().requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return vote counts, int64 `[n, classes]`."""
        return count_votes(self.ballots(inputs), self.classes)

    def ballots(self, inputs: Tensor) -> Tensor:
        """Return each teacher's class for inputs `[n, *input_shape]`: int64 `[teachers, n]`."""
        scores = torch.stack([network(inputs) for network in self.networks])
        return ballots(scores.movedim(2, 0))


def ballots(scores: Tensor) -> Tensor:
    """Return the class with the highest score, the first in a tie: float32 `[classes, ...]` -> int64 `[...]`.

    The classes come first, and there is no argmax: over a short axis of many values it takes six times as long.
    """
    classes = scores.shape[0]
    ranks = torch.arange(classes, 0, -1, dtype=scores.dtype, device=scores.device)
    # 1 for a class with the highest score and 0 for others, times a rank that is higher for earlier classes.
    is_best = (scores - scores.amax(dim=0)).sign() + 1
    highest = (is_best * ranks.reshape(-1, *[1] * (scores.dim() - 1))).amax(dim=0)
    return classes - highest.to(torch.int64)


def count_votes(cast: Tensor, classes: int) -> Tensor:
    """Count ballots int64 `[teachers, n]` to votes int64 `[n, classes]`."""
    votes = torch.zeros(classes, cast.shape[1], dtype=torch.int64, device=cast.device)
    return votes.scatter_add(0, cast, torch.ones_like(cast)).T.contiguous()
