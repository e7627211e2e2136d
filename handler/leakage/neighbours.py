"""The reference set of the pknn score: labelled training points in the victim's representation, in one file.

torch.save wrote the file, from tensors and a card in JSON; loading it runs no code from it.
"""

import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from calpow.handler.errors import DecodingError, NeighboursError
from calpow.handler.json_documents import read_document

SCHEMA = 1
# Samples that are compared at once, which bounds the memory for their distances to all reference points.
LARGEST_BATCH = 64
_AGAIN = "make the reference set again"


@dataclass(frozen=True)
class NeighboursCard:
    """Description of a reference set: the `k` nearest of `points` points vote, each given by `width` numbers."""

    schema: int
    class_names: tuple[str, ...]
    points: int
    width: int
    k: int
    victim_sha256: str


class Neighbours:
    """Labelled training points, of which the nearest to a query vote on its class."""

    def __init__(self, card: NeighboursCard, features: Tensor, labels: Tensor) -> None:
        """`features` float32 `[points, width]` and `labels` int64 `[points]`, indices of names, on one device.

        Raises NeighboursError when they do not fit the card, or are not finite.
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
        """Load a file that `save_neighbours` wrote. Raises NeighboursError, whose text is one line."""
        if not path.is_file():
            raise NeighboursError(f"{path} does not exist: give a reference set")
        try:
            stored = torch.load(path, map_location=device, weights_only=True)
            text, features, labels = stored["card"], stored["features"], stored["labels"]
        except (OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
            raise NeighboursError(f"{path} is no reference set ({type(error).__name__}): {_AGAIN}") from error
        if not (isinstance(text, str) and isinstance(features, Tensor) and isinstance(labels, Tensor)):
            raise NeighboursError(f"{path} is no reference set (other contents): {_AGAIN}")
        return cls(_read_card(text), features, labels)

    def votes(self, features: Tensor) -> Tensor:
        """Return the votes of the k nearest points to each of `features` `[n, width]`: int64 `[n, classes]` on the CPU.

        A sample whose distances overflow or are NaN gets no votes, which costs the most. Raises NeighboursError for
        another width.
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
        # Squared distances without the query's own square, which does not change their order.
        distances = torch.addmm(self._squares, features, self._points.T, alpha=-2)
        nearest, points = distances.topk(self.card.k, dim=1, largest=False, sorted=False)
        valid = nearest.isfinite().all(dim=1, keepdim=True).long().expand_as(points)
        blank = points.new_zeros(len(points), len(self.card.class_names))
        return blank.scatter_add_(1, self._labels[points], valid)


def save_neighbours(path: Path, card: NeighboursCard, features: Tensor, labels: Tensor) -> None:
    """Write a reference set, of the arguments of Neighbours, on the CPU.

    Raises NeighboursError when they do not fit or the file cannot be written.
    """
    _check(card, features, labels)
    contents = {"card": json.dumps(asdict(card)), "features": features.contiguous(), "labels": labels.contiguous()}
    try:
        torch.save(contents, path)
    except (OSError, RuntimeError) as error:
        raise NeighboursError(f"{path} cannot be written ({error}): give another path") from error


def _read_card(text: str) -> NeighboursCard:
    try:
        return read_document(NeighboursCard, text, SCHEMA, "the reference set's card")
    except DecodingError as error:
        raise NeighboursError(f"{error}: {_AGAIN}") from None


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
