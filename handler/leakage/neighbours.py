"""The reference set of the pknn metric: labelled training points in the victim's representation, one file.

The file is what torch.save makes of tensors and of a card in JSON; it is read without running code from it.
"""

import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from calpow.handler.decoding import DecodingError, decode
from calpow.puzzle.errors import CalpowError

SCHEMA = 1
# How many samples are compared at once: bounds the memory for their distances to all reference points.
LARGEST_BATCH = 64
_AGAIN = "make the reference set again"


class NeighboursError(CalpowError):
    """A reference set cannot be used, or not with these features."""


@dataclass(frozen=True)
class NeighboursCard:
    """What a reference set is: the `k` nearest of `points` points vote, each given by `width` numbers."""

    schema: int
    class_names: tuple[str, ...]
    points: int
    width: int
    k: int
    victim_sha256: str


class Neighbours:
    """Labelled training points, of which those nearest to a query vote on its class."""

    def __init__(self, card: NeighboursCard, features: Tensor, labels: Tensor) -> None:
        """`features` float32 `[points, width]` and `labels` int64 `[points]`, indices of names, on one device.

        Raises NeighboursError when they do not fit the card, or are no numbers.
        """
        _check(card, features, labels)
        self.card = card
        self._labels = labels
        # Around the origin: far from it, squares swallow the differences between points in float32.
        self._centre = features.mean(dim=0)
        self._points = features - self._centre
        self._squares = self._points.square().sum(dim=1)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> "Neighbours":
        """Load a file that `save_neighbours` wrote. Raises NeighboursError, one line that says what is wrong."""
        if not path.is_file():
            raise NeighboursError(f"{path} does not exist: give a reference set")
        try:
            stored = torch.load(path, map_location=device, weights_only=True)
            text, features, labels = stored["card"], stored["features"], stored["labels"]
        except (OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError) as problem:
            raise NeighboursError(f"{path} is no reference set ({type(problem).__name__}): {_AGAIN}") from problem
        if not (isinstance(text, str) and isinstance(features, Tensor) and isinstance(labels, Tensor)):
            raise NeighboursError(f"{path} is no reference set (other contents): {_AGAIN}")
        return cls(_read_card(text), features, labels)

    def votes(self, features: Tensor) -> Tensor:
        """Votes int64 `[n, classes]` on the CPU, of the k nearest points to each of `features` `[n, width]`.

        A sample whose distances overflow or are NaN gets no votes at all, which is the dearest there is. Raises
        NeighboursError when the width is another.
        """
        if features.dim() != 2 or features.shape[1] != self.card.width:
            raise NeighboursError(
                f"the reference set holds {self.card.width} numbers a point, the victim gives"
                f" {tuple(features.shape[1:])}: {_AGAIN} with this victim"
            )
        with torch.inference_mode():
            centred = features.to(self._points) - self._centre
            return torch.cat([self._votes(part) for part in torch.split(centred, LARGEST_BATCH)]).cpu()

    def _votes(self, features: Tensor) -> Tensor:
        # The squared distance but for the query's own square, which changes no order.
        distances = torch.addmm(self._squares, features, self._points.T, alpha=-2)
        nearest, points = distances.topk(self.card.k, dim=1, largest=False, sorted=False)
        valid = nearest.isfinite().all(dim=1, keepdim=True).long().expand_as(points)
        blank = points.new_zeros(len(points), len(self.card.class_names))
        return blank.scatter_add_(1, self._labels[points], valid)


def save_neighbours(path: Path, card: NeighboursCard, features: Tensor, labels: Tensor) -> None:
    """Write a reference set; arguments as for Neighbours, on the CPU. Raises NeighboursError when they do not fit."""
    _check(card, features, labels)
    contents = {"card": json.dumps(asdict(card)), "features": features.contiguous(), "labels": labels.contiguous()}
    try:
        torch.save(contents, path)
    except (OSError, RuntimeError) as problem:
        raise NeighboursError(f"{path} cannot be written ({problem}): give another path") from problem


def _read_card(text: str) -> NeighboursCard:
    try:
        document = json.loads(text)
        # The schema first: another version's fields would be reported as missing.
        schema = document.get("schema") if isinstance(document, dict) else None
        if type(schema) is int and schema != SCHEMA:
            raise NeighboursError(f"the reference set has schema {schema}, this version reads {SCHEMA}: {_AGAIN}")
        return decode(NeighboursCard, document)
    except (ValueError, RecursionError):
        raise NeighboursError(f"the reference set's card is not JSON: {_AGAIN}") from None
    except DecodingError as problem:
        raise NeighboursError(f"the reference set's card: {problem}: {_AGAIN}") from None


def _check(card: NeighboursCard, features: Tensor, labels: Tensor) -> None:
    fits = features.dtype is torch.float32 and tuple(features.shape) == (card.points, card.width)
    if not (fits and labels.dtype is torch.int64 and tuple(labels.shape) == (card.points,)):
        raise NeighboursError(f"the reference set's points are not what its card says: {_AGAIN}")
    if not 1 <= card.k <= card.points:
        raise NeighboursError(f"of {card.points} points {card.k} cannot vote: choose a k from 1 to {card.points}")
    classes = len(card.class_names)
    if classes < 2 or card.width < 1 or not bool(((labels >= 0) & (labels < classes)).all()):
        raise NeighboursError(f"the reference set has points of other classes than its card names: {_AGAIN}")
    if not bool(features.isfinite().all()):
        raise NeighboursError("the reference set has points with NaN or infinity: look at the victim's training data")
