"""The teacher ensemble as the worker uses it, and the file that holds it.

torch.save wrote the file; loading it runs no code from it. It holds the ensemble's card, a description of what was
trained, the statistics of the training data that other scores compare queries with, and either the weights of heads on
one of our trunks, which any version of torch reads, or a program of `torch.export`, so that any other architecture fits
as well and the worker needs none of its code.
"""

import io
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calpow.handler.errors import DecodingError, EnsembleError, TrunkError
from calpow.handler.json_documents import read_document
from calpow.handler.leakage.references import LAST, References
from calpow.handler.leakage.score import Array, array_of
from calpow.handler.leakage.teachers.heads import HeadEnsemble, HeadVotes
from calpow.handler.leakage.teachers.stored_references import pack, unpack
from calpow.handler.leakage.teachers.trunks import VICTIM, make_trunk

SCHEMA = 5
# The members of the file. One of the last two is there.
CARD, REFERENCES, HEADS, PROGRAM = "card", "references", "heads", "program"
# Samples that are voted on at once, which bounds the memory for the teachers' scores.
LARGEST_BATCH = 256
_AGAIN = "train teachers again"
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class EnsembleCard:
    """Description of an ensemble and of its training.

    `input_shape` is one input's, without the batch axis; None where inputs differ in shape or are several tensors.
    `layer` is the victim's layer whose input are the features of trunk `victim`, empty where its output stands for
    them, and `width` the number of axes that they are projected on, 0 for other trunks. `torch` is the version that
    exported the program, empty for heads. `network` and `epochs` are those of independent teachers, which have no
    trunk; heads on a trunk have `ridge` and 0. `weights_sha256` is of the file with a public backbone's weights, empty
    for other trunks. `partition_sizes` counts each teacher's samples, `partition_digests` are the SHA-256 of its
    payloads' sorted SHA-256s (decision 0022). The accuracies (the teachers' mean, the worst teacher's and the vote's)
    were measured on `measured_on` samples that no teacher has seen, and so was `share_at_ceiling`, the share of them
    whose vote costs the most that a vote can.
    """

    schema: int
    classes: int
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...] | None
    layer: str
    width: int
    torch: str
    teachers: int
    trunk: str
    network: str
    epochs: int
    weights_sha256: str
    seed: int
    partition_sizes: tuple[int, ...]
    partition_digests: tuple[str, ...]
    measured_on: int
    teacher_accuracy: float
    worst_teacher_accuracy: float
    vote_accuracy: float
    share_at_ceiling: float
    victim_sha256: str

    def __post_init__(self) -> None:
        """Raise EnsembleError when a field is out of range or two do not fit each other."""
        shape = self.input_shape
        counts = (*(shape or ()), *self.partition_sizes, self.epochs, self.seed, self.measured_on, self.width)
        accuracies = (self.teacher_accuracy, self.worst_teacher_accuracy, self.vote_accuracy)
        fits = (
            min(counts) >= 0
            and all(0 <= share <= 1 for share in (*accuracies, self.share_at_ceiling))
            and self.classes == len(set(self.class_names)) == len(self.class_names) >= 2
            and self.teachers == len(self.partition_sizes) >= 1
            # Every teacher has seen every class.
            and min(self.partition_sizes) >= self.classes
            # Equal digests are those of the same data.
            and self.teachers == len(set(self.partition_digests)) == len(self.partition_digests)
            and all(_SHA256.fullmatch(digest) for digest in self.partition_digests)
            and (self.width >= 1 if self.trunk == VICTIM else shape is not None and len(shape) >= 1)
            and self.worst_teacher_accuracy <= self.teacher_accuracy
        )
        if not fits:
            raise EnsembleError(f"the ensemble's card contradicts itself: {_AGAIN}")

    def to_json(self) -> str:
        """Return the card as it is stored beside the program."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "EnsembleCard":
        """Read a stored card. Raises EnsembleError, whose text is one line."""
        try:
            return read_document(cls, text, SCHEMA, "the ensemble's card")
        except DecodingError as error:
            raise EnsembleError(f"{error}: {_AGAIN}") from error


class Ensemble:
    """Frozen teachers that vote on the class of each sample, and the statistics of the training data.

    references: statistics that other scores compare queries with; None where the victim shows nothing.
    """

    def __init__(
        self,
        card: EnsembleCard,
        program: Callable[[Tensor], Array],
        device: torch.device,
        references: References | None = None,
    ) -> None:
        """`program` maps float32 values `[n, *value_shape]` on `device` to int64 votes `[n, classes]`."""
        self.card = card
        self.references = references
        self._program = program
        self._device = device
        # Whether the teachers vote on the victim's features, projected on their axes, and not on its inputs.
        self.on_features = card.trunk == VICTIM
        # The shape of what the teachers vote on, without the batch axis.
        self.value_shape = (card.width,) if self.on_features else card.input_shape or ()

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> "Ensemble":
        """Load a file that `calpow teachers` wrote, and try it once.

        Raises EnsembleError when the file is not one, or its votes are not what its card says.
        """
        device = torch.device(device)
        stored = _read(path)
        text = stored.get(CARD)
        if not isinstance(text, str):
            raise EnsembleError(f"{path} has no card: it was not written by calpow teachers")
        if not stored.keys() & {HEADS, PROGRAM}:
            raise EnsembleError(f"{path} holds neither weights nor a program: {_AGAIN}")
        card = EnsembleCard.from_json(text)
        program = _program(path, card, stored, device)
        cls(card, program, device)._try_once()
        return cls(card, program, device, _references(path, card, stored, device))

    def votes(self, values: Tensor) -> Array:
        """Return vote counts, int64 `[n, classes]`, on the victim's inputs or projected features `[n, *value_shape]`.

        Each row sums to the number of teachers. Raises EnsembleError for values of another shape than the teachers'.
        """
        if values.shape[1:] != self.value_shape:
            what = "features" if self.on_features else "inputs"
            raise EnsembleError(
                f"the teachers take {what} of shape {self.value_shape}, not {tuple(values.shape[1:])}:"
                " train them on what this victim's handler makes"
            )
        ready = values.to(self._device, torch.float32)
        if ready.size(0) <= LARGEST_BATCH:
            return self._program(ready)
        return np.concatenate([self._program(part) for part in torch.split(ready, LARGEST_BATCH)])

    def _try_once(self) -> None:
        try:
            votes = self.votes(torch.zeros(2, *self.value_shape))
        except (RuntimeError, AssertionError, TypeError, AttributeError) as error:
            # TypeError for a length that no tensor has, AttributeError for what is no tensor.
            raise EnsembleError(
                f"the ensemble does not take values of shape {self.value_shape}, as its card says: {_AGAIN}"
            ) from error
        expected = (2, self.card.classes)
        counts = votes.shape == expected and votes.dtype == np.int64
        if not counts or bool((votes.sum(axis=1) != self.card.teachers).any()):
            raise EnsembleError(
                f"the ensemble does not make votes of {self.card.teachers} teachers on {self.card.classes} classes,"
                f" as its card says: {_AGAIN}"
            )


def save_heads(path: Path, card: EnsembleCard, references: References | None, ensemble: HeadEnsemble) -> None:
    """Write heads on one of our trunks, with their card and references. Raises OSError."""
    weights = {name: tensor.cpu().contiguous() for name, tensor in ensemble.state_dict().items()}
    torch.save({CARD: card.to_json(), **_packed(references), HEADS: weights}, path)


def save_program(path: Path, card: EnsembleCard, references: References | None, program: bytes) -> None:
    """Write a program that torch.export.save made, with its card and references. Raises OSError."""
    stored = torch.frombuffer(bytearray(program), dtype=torch.uint8)
    torch.save({CARD: card.to_json(), **_packed(references), PROGRAM: stored}, path)


def _packed(references: References | None) -> dict[str, object]:
    return {} if references is None else {REFERENCES: pack(references)}


def _read(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        raise EnsembleError(f"{path} does not exist: train teachers with calpow teachers")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what its readers of zip and pickle raise
        raise EnsembleError(
            f"{path} cannot be read as an ensemble of teachers ({type(error).__name__}): {_AGAIN}"
        ) from error
    if not isinstance(stored, dict):
        raise EnsembleError(f"{path} has no card: it was not written by calpow teachers")
    return stored


def _references(
    path: Path, card: EnsembleCard, stored: Mapping[str, object], device: torch.device
) -> References | None:
    """Return the stored references. Raises EnsembleError, also where trunk `victim` lacks the axes of its features."""
    member = stored.get(REFERENCES)
    try:
        references = None if member is None else unpack(member, card.classes, device)
    except EnsembleError as error:
        raise EnsembleError(f"{path} cannot be used, {error}: {_AGAIN}") from error
    axes = None if references is None else references.axes.get(LAST)
    if card.trunk == VICTIM and (axes is None or axes.shape[1] != card.width):
        raise EnsembleError(f"{path} lacks the {card.width} axes of the victim's features: {_AGAIN}")
    return references


def _program(
    path: Path, card: EnsembleCard, stored: Mapping[str, object], device: torch.device
) -> Callable[[Tensor], Array]:
    """Return the function that votes on a batch. Raises EnsembleError."""
    heads, program = stored.get(HEADS), stored.get(PROGRAM)
    if isinstance(heads, dict):
        try:
            # Their scores would be NaN, with which all teachers vote for one class: the least price for any query.
            if not all(bool(tensor.isfinite().all()) for tensor in heads.values()):
                raise EnsembleError(f"{path} holds weights that are NaN or infinite: {_AGAIN}")
            trunk = make_trunk(card.trunk, card.input_shape, card.seed)
            return HeadVotes(HeadEnsemble.restored(trunk, heads, card.classes).to(device))
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError, TrunkError) as error:
            raise EnsembleError(f"{path} holds other weights than its card says: {_AGAIN}") from error
    if isinstance(program, Tensor) and program.dtype is torch.uint8:
        try:
            return _load_program(program.numpy().tobytes(), device)
        except Exception as error:  # torch.export raises what its readers of zip, JSON and pickle raise
            raise EnsembleError(
                f"{path} holds a program of torch {card.torch}, which torch {torch.__version__} cannot load"
                f" ({type(error).__name__}): upgrade torch, or train teachers with --trunk victim, scattering or random"
            ) from error
    raise EnsembleError(f"{path} holds neither weights nor a program: {_AGAIN}")


def _load_program(program: bytes, device: torch.device) -> Callable[[Tensor], Array]:
    # Not at the top: torch.export is younger than the oldest torch that heads run on.
    from torch import export

    # Its reader logs what its exception says too.
    log = logging.getLogger("torch.export")
    before = log.disabled
    log.disabled = True
    try:
        exported = export.load(io.BytesIO(program))
    finally:
        log.disabled = before
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        exported = move_to_device_pass(exported, device)
    # Calling forward skips hooks that check the shape, as votes() does, and that take a fifth of the time.
    forward: Callable[[Tensor], Tensor] = exported.module().forward

    def votes(values: Tensor) -> Array:
        with torch.inference_mode():
            return array_of(forward(values))

    return votes
