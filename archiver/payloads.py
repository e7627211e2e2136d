"""Folders of raw payloads: one folder per class with files below it, as torchvision's ImageFolder reads them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor
from tqdm import tqdm

from calpow.archiver.errors import FolderError
from calpow.handler.errors import BadPayload


class Preprocessor(Protocol):
    """A victim's preprocessing; see OpenVictim."""

    def preprocess(self, rows: Sequence[Mapping[str, object]]) -> Tensor:
        """Return the model's inputs `[samples, ...]` for rows."""
        ...


@dataclass(frozen=True)
class Payload:
    """The body of one request on disk, its class, and the unit of data that it belongs to.

    A unit is never divided between teachers or resamples. It is the sub-folder of the class that holds the file (the
    pictures of one person, the copies of one image), or the file alone where there is no sub-folder.
    """

    path: Path
    label: int
    unit: str


@dataclass(frozen=True)
class PayloadFolder:
    """Classes in alphabetical order, and their payloads in the order of paths within each class."""

    class_names: tuple[str, ...]
    payloads: tuple[Payload, ...]

    def units_per_class(self) -> list[int]:
        """Return the number of units of each class."""
        return [
            len({payload.unit for payload in self.payloads if payload.label == label})
            for label in range(len(self.class_names))
        ]


def read_folder(path: Path) -> PayloadFolder:
    """List a folder of payloads without hidden files. Raises FolderError unless it has two classes, all with files."""
    path = path.resolve()
    if not path.is_dir():
        raise FolderError(f"{path} is not a folder: give one with a sub-folder of payload files for each class")
    classes = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise FolderError(f"{path} has {len(classes)} class folders: put the payload files of each class in its own")
    payloads: list[Payload] = []
    for label, name in enumerate(classes):
        files = _files(path / name)
        if not files:
            raise FolderError(f"{path / name} has no files: add payloads of this class or remove the folder")
        payloads.extend(Payload(file, label, f"{name}/{file.relative_to(path / name).parts[0]}") for file in files)
    return PayloadFolder(tuple(classes), tuple(payloads))


def list_payloads(path: Path) -> tuple[Payload, ...]:
    """List all payload files below a folder, with label 0 and a unit each. Raises FolderError when there are none."""
    if not path.is_dir():
        raise FolderError(f"{path} is not a folder: give one with payload files")
    files = _files(path.resolve())
    if not files:
        raise FolderError(f"{path} has no files: add payloads")
    return tuple(Payload(file, 0, str(file)) for file in files)


def read_row(payload: Payload) -> dict[str, object]:
    """Return the row that TorchServe would pass to a handler: the body, parsed if the file is `.json`, else its bytes.

    Raises FolderError when the file cannot be read.
    """
    try:
        body = payload.path.read_bytes()
        return {"body": json.loads(body) if payload.path.suffix.lower() == ".json" else body}
    except OSError as problem:
        raise FolderError(f"{payload.path} cannot be read: {problem.strerror}") from problem
    except ValueError as problem:
        raise FolderError(f"{payload.path} is not the JSON its name says: {problem}") from problem


def model_inputs(victim: Preprocessor, payloads: Sequence[Payload], progress: str | None = None) -> Iterator[Tensor]:
    """Yield the model's inputs `[samples, *input_shape]` for each payload, on the victim's device.

    `progress` names a progress bar. Raises FolderError at the first payload that the victim cannot read, or whose
    inputs differ in shape from those of the first payload.
    """
    shape: tuple[int, ...] | None = None
    for payload in tqdm(payloads, desc=progress, unit="payload", disable=None if progress else True):
        try:
            inputs = victim.preprocess([read_row(payload)])
        except BadPayload as problem:
            raise FolderError(f"{payload.path}: {problem}") from problem
        input_shape = tuple(inputs.shape[1:])
        shape = shape or input_shape
        if input_shape != shape:
            raise FolderError(
                f"{payload.path}: the victim's handler makes an input of shape {input_shape} of it and of {shape} of"
                " the others: teachers need one shape"
            )
        yield inputs


def _files(folder: Path) -> list[Path]:
    inside = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in inside if not any(part.startswith(".") for part in file.relative_to(folder).parts))
