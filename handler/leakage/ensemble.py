"""The teacher ensemble as the worker uses it: one exported program, inputs -> vote counts.

The artefact is a `.pt2` file of `torch.export`, so any architecture fits and the worker needs none of its code.
Its card, what it was trained as, lies inside as `calpow.json`.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from calpow.puzzle.errors import CalpowError

CARD_FILE = "calpow.json"
SCHEMA = 2
# How many samples are voted on at once: bounds the memory for the teachers' scores.
LARGEST_BATCH = 256
_SHA256 = re.compile("[0-9a-f]{64}")


class EnsembleError(CalpowError):
    """The ensemble's artefact cannot be used, or not with these inputs."""


@dataclass(frozen=True)
class EnsembleCard:
    """What an ensemble is and what it was trained on.

    `input_shape` is one input's, without the batch axis. `network` and `epochs` are of independent teachers, which
    have no trunk; `ridge` and 0 of heads on a trunk. `weights_sha256` is of the file with a public backbone's weights,
    empty for other trunks. `partition_sizes` counts each teacher's samples, `partition_digests` are the SHA-256 of
    its payloads' sorted SHA-256s. The accuracies, the teachers' mean, the worst one's and the vote's, were measured
    on as many samples as `measured_on` says, which no teacher has seen.
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
        """Raises EnsembleError when the fields do not fit each other."""
        fits = (
            self.classes == len(set(self.class_names)) == len(self.class_names) >= 2
            and self.teachers == len(self.partition_sizes) >= 1
            # Each teacher has seen each class.
            and min(self.partition_sizes) >= self.classes
            # Equal ones would be of the same data.
            and self.teachers == len(set(self.partition_digests)) == len(self.partition_digests)
            and all(_SHA256.fullmatch(digest) for digest in self.partition_digests)
            and len(self.input_shape) >= 1
            and self.worst_teacher_accuracy <= self.teacher_accuracy
        )
        if not fits:
            raise EnsembleError("the ensemble's card contradicts itself: train teachers again")

    def to_json(self) -> str:
        """The card as it is stored beside the program."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "EnsembleCard":
        """Read a stored card. Raises EnsembleError when it is not one."""
        try:
            document = json.loads(text)
        except ValueError:
            raise EnsembleError("the ensemble's card is not JSON: train teachers again") from None
        if not isinstance(document, dict):
            raise EnsembleError("the ensemble's card is not a JSON object: train teachers again")
        # The schema first: another version's fields would be reported as missing.
        if document.get("schema") != SCHEMA:
            raise EnsembleError(
                f"the ensemble's card has schema {document.get('schema')}, this version reads {SCHEMA}:"
                " train teachers again"
            )
        return cls(
            schema=SCHEMA,
            classes=_integer(document, "classes"),
            class_names=_texts(document, "class_names"),
            input_shape=_integers(document, "input_shape"),
            teachers=_integer(document, "teachers"),
            trunk=_text(document, "trunk"),
            network=_text(document, "network"),
            epochs=_integer(document, "epochs"),
            weights_sha256=_text(document, "weights_sha256"),
            seed=_integer(document, "seed"),
            partition_sizes=_integers(document, "partition_sizes"),
            partition_digests=_texts(document, "partition_digests"),
            measured_on=_integer(document, "measured_on"),
            teacher_accuracy=_share(document, "teacher_accuracy"),
            worst_teacher_accuracy=_share(document, "worst_teacher_accuracy"),
            vote_accuracy=_share(document, "vote_accuracy"),
            victim_sha256=_text(document, "victim_sha256"),
        )


class Ensemble:
    """Frozen teachers that vote on the class of each input."""

    def __init__(self, card: EnsembleCard, program: Callable[[Tensor], Tensor], device: torch.device) -> None:
        """`program` maps float32 inputs `[n, *card.input_shape]` on `device` to int64 votes `[n, classes]`."""
        self.card = card
        self._program = program
        self._device = device

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> "Ensemble":
        """Load an artefact that `calpow teachers` wrote and try it once.

        Raises EnsembleError when the file is none, or votes otherwise than its card says.
        """
        device = torch.device(device)
        stored = {CARD_FILE: ""}
        if not path.is_file():
            raise EnsembleError(f"{path} does not exist: train teachers with calpow teachers")
        try:
            exported = _load_quietly(path, stored)
        except Exception as problem:  # torch.export raises what its readers of zip, JSON and pickle raise
            raise EnsembleError(
                f"{path} cannot be read as a program of torch.export ({type(problem).__name__}): train teachers again"
            ) from problem
        if not stored[CARD_FILE]:
            raise EnsembleError(f"{path} has no card {CARD_FILE}: it was not written by calpow teachers")
        card = EnsembleCard.from_json(stored[CARD_FILE])
        if device.type != "cpu":
            exported = move_to_device_pass(exported, device)
        # Calling forward leaves out hooks that check the shape, as votes() does, and take a fifth of the time.
        ensemble = cls(card, exported.module().forward, device)
        ensemble._try_once()
        return ensemble

    def votes(self, inputs: Tensor) -> Tensor:
        """Vote counts int64 `[n, classes]` for the victim's inputs `[n, *input_shape]`; each row sums to teachers.

        Raises EnsembleError when the inputs have another shape than the teachers were trained on.
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
        except (RuntimeError, AssertionError) as problem:
            raise EnsembleError(
                f"the ensemble does not take inputs of shape {self.card.input_shape}, as its card says:"
                " train teachers again"
            ) from problem
        expected = (2, self.card.classes)
        counts = isinstance(votes, Tensor) and tuple(votes.shape) == expected and votes.dtype == torch.int64
        if not counts or bool((votes.sum(dim=1) != self.card.teachers).any()):
            raise EnsembleError(
                f"the ensemble does not make votes of {self.card.teachers} teachers on {self.card.classes} classes,"
                " as its card says: train teachers again"
            )


def _load_quietly(path: Path, stored: dict[str, str]) -> torch.export.ExportedProgram:
    """Load a program without the log lines of torch's own reader; its complaint becomes our exception."""
    log = logging.getLogger("torch.export")
    before = log.disabled
    log.disabled = True
    try:
        return torch.export.load(path, extra_files=stored)
    finally:
        log.disabled = before


def _wrong(name: str) -> EnsembleError:
    return EnsembleError(f"the ensemble's card has no valid {name}: train teachers again")


def _integer(document: Mapping[str, object], name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(name)
    return value


def _share(document: Mapping[str, object], name: str) -> float:
    value = document.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise _wrong(name)
    return float(value)


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise _wrong(name)
    return value


def _integers(document: Mapping[str, object], name: str) -> tuple[int, ...]:
    values = document.get(name)
    if not isinstance(values, list):
        raise _wrong(name)
    return tuple(_integer({name: value}, name) for value in values)


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    values = document.get(name)
    if not isinstance(values, list):
        raise _wrong(name)
    return tuple(_text({name: value}, name) for value in values)
