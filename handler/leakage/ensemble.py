"""The teacher ensemble as the worker uses it: an exported program that maps inputs to vote counts.

The artefact is a `.pt2` file of `torch.export`, so any architecture fits and the worker needs none of its code. It
contains the ensemble's card, a description of what was trained, as `calpow.json`.
"""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from calpow.handler.errors import DecodingError, EnsembleError
from calpow.handler.json_documents import read_document

CARD_FILE = "calpow.json"
SCHEMA = 2
# Samples that are voted on at once, which bounds the memory for the teachers' scores.
LARGEST_BATCH = 256
_AGAIN = "train teachers again"
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class EnsembleCard:
    """Description of an ensemble and of its training.

    `input_shape` is one input's, without the batch axis. `network` and `epochs` are those of independent teachers,
    which have no trunk; heads on a trunk have `ridge` and 0. `weights_sha256` is of the file with a public backbone's
    weights, empty for other trunks. `partition_sizes` counts each teacher's samples, `partition_digests` are the
    SHA-256 of its payloads' sorted SHA-256s (decision 0022). The accuracies (the teachers' mean, the worst teacher's
    and the vote's) were measured on `measured_on` samples that no teacher has seen.
    """

    schema: int
    classes: int
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
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
    victim_sha256: str

    def __post_init__(self) -> None:
        """Raise EnsembleError when a field is out of range or two do not fit each other."""
        counts = (*self.input_shape, *self.partition_sizes, self.epochs, self.seed, self.measured_on)
        shares = (self.teacher_accuracy, self.worst_teacher_accuracy, self.vote_accuracy)
        fits = (
            min(counts) >= 0
            and all(0 <= share <= 1 for share in shares)
            and self.classes == len(set(self.class_names)) == len(self.class_names) >= 2
            and self.teachers == len(self.partition_sizes) >= 1
            # Every teacher has seen every class.
            and min(self.partition_sizes) >= self.classes
            # Equal digests are those of the same data.
            and self.teachers == len(set(self.partition_digests)) == len(self.partition_digests)
            and all(_SHA256.fullmatch(digest) for digest in self.partition_digests)
            and len(self.input_shape) >= 1
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
    """Frozen teachers that vote on the class of each input."""

    def __init__(self, card: EnsembleCard, program: Callable[[Tensor], Tensor], device: torch.device) -> None:
        """`program` maps float32 inputs `[n, *card.input_shape]` on `device` to int64 votes `[n, classes]`."""
        self.card = card
        self._program = program
        self._device = device

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> "Ensemble":
        """Load an artefact that `calpow teachers` wrote, and try it once.

        Raises EnsembleError when the file is not one, or its votes are not what its card says.
        """
        device = torch.device(device)
        stored = {CARD_FILE: ""}
        if not path.is_file():
            raise EnsembleError(f"{path} does not exist: train teachers with calpow teachers")
        try:
            exported = _load_quietly(path, stored)
        except Exception as error:  # torch.export raises what its readers of zip, JSON and pickle raise
            raise EnsembleError(
                f"{path} cannot be read as a program of torch.export ({type(error).__name__}): {_AGAIN}"
            ) from error
        if not stored[CARD_FILE]:
            raise EnsembleError(f"{path} has no card {CARD_FILE}: it was not written by calpow teachers")
        card = EnsembleCard.from_json(stored[CARD_FILE])
        if device.type != "cpu":
            exported = move_to_device_pass(exported, device)
        # Calling forward skips hooks that check the shape, as votes() does, and that take a fifth of the time.
        ensemble = cls(card, exported.module().forward, device)
        ensemble._try_once()
        return ensemble

    def votes(self, inputs: Tensor) -> Tensor:
        """Return vote counts, int64 `[n, classes]`, on the victim's inputs `[n, *input_shape]`.

        Each row sums to the number of teachers. Raises EnsembleError for inputs of another shape than the teachers'.
        """
        if tuple(inputs.shape[1:]) != self.card.input_shape:
            raise EnsembleError(
                f"the teachers take inputs of shape {self.card.input_shape}, not {tuple(inputs.shape[1:])}:"
                " train them on what this victim's preprocess makes"
            )
        with torch.inference_mode():
            ready = inputs.to(self._device, torch.float32)
            if len(ready) <= LARGEST_BATCH:
                return self._program(ready)
            return torch.cat([self._program(part) for part in torch.split(ready, LARGEST_BATCH)])

    def _try_once(self) -> None:
        blank = torch.zeros(2, *self.card.input_shape)
        try:
            votes = self.votes(blank)
        except (RuntimeError, AssertionError) as error:
            raise EnsembleError(
                f"the ensemble does not take inputs of shape {self.card.input_shape}, as its card says: {_AGAIN}"
            ) from error
        expected = (2, self.card.classes)
        counts = isinstance(votes, Tensor) and tuple(votes.shape) == expected and votes.dtype == torch.int64
        if not counts or bool((votes.sum(dim=1) != self.card.teachers).any()):
            raise EnsembleError(
                f"the ensemble does not make votes of {self.card.teachers} teachers on {self.card.classes} classes,"
                f" as its card says: {_AGAIN}"
            )


def _load_quietly(path: Path, stored: dict[str, str]) -> torch.export.ExportedProgram:
    """Load a program without the log lines of torch's reader, whose complaint is in its exception too."""
    log = logging.getLogger("torch.export")
    before = log.disabled
    log.disabled = True
    try:
        return torch.export.load(path, extra_files=stored)
    finally:
        log.disabled = before
