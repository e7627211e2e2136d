"""Raw payloads as an owner keeps them: one folder a class, files below it, as torchvision's ImageFolder reads them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor
from tqdm import tqdm

from calpow.handler.errors import BadPayload
from calpow.puzzle.errors import CalpowError


class FolderError(CalpowError):
    """A folder of payloads cannot be used as it is."""


class Preprocessor(Protocol):
    """What is needed of a victim here: OpenVictim of calpow.archiver.victims."""

    def preprocess(self, rows: Sequence[Mapping[str, object]]) -> Tensor:
        """The victim's input tensor `[samples, ...]` for rows."""
        ...


@dataclass(frozen=True)
class Payload:
    """One request's body on disk, its class, and the unit of data it belongs to.

    A unit is what must never be divided: the sub-folder of the class the file lies in, if it lies in one (the
    pictures of one person, the copies of one image), else the file by itself.
    """

    path: Path
    label: int
    unit: str


@dataclass(frozen=True)
class Folder:
    """Classes in alphabetical order, and the payloads of each in the order of their paths."""

    class_names: tuple[str, ...]
    payloads: tuple[Payload, ...]

    def units_per_class(self) -> list[int]:
        """How many units each class has."""
        return [
            len({each.unit for each in self.payloads if each.label == label}) for label in range(len(self.class_names))
        ]


def read_folder(path: Path) -> Folder:
    """List a folder of payloads; hidden files are left out. Raises FolderError when it has no classes or files."""
    path = path.resolve()
    if not path.is_dir():
        raise FolderError(f"{path} is no folder: give one with a sub-folder of payload files for each class")
    classes = sorted(each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
    if len(classes) < 2:
        raise FolderError(f"{path} has {len(classes)} class folders: put the payload files of each class in its own")
    payloads: list[Payload] = []
    for label, name in enumerate(classes):
        files = _files(path / name)
        if not files:
            raise FolderError(f"{path / name} has no files: add payloads of this class or remove the folder")
        payloads.extend(Payload(file, label, f"{name}/{file.relative_to(path / name).parts[0]}") for file in files)
    return Folder(tuple(classes), tuple(payloads))


def list_payloads(path: Path) -> tuple[Payload, ...]:
    """All payload files below a folder, whatever their class: label 0, each a unit by itself. Raises FolderError."""
    if not path.is_dir():
        raise FolderError(f"{path} is no folder: give one with payload files")
    files = _files(path.resolve())
    if not files:
        raise FolderError(f"{path} has no files: add payloads")
    return tuple(Payload(file, 0, str(file)) for file in files)


def row(payload: Payload) -> dict[str, object]:
    """The row TorchServe would hand to a handler: the body in bytes, parsed where it is a `.json` file.

    Raises FolderError when the file cannot be read.
    """
    try:
        body = payload.path.read_bytes()
        return {"body": json.loads(body) if payload.path.suffix.lower() == ".json" else body}
    except OSError as problem:
        raise FolderError(f"{payload.path} cannot be read: {problem.strerror}") from problem
    except ValueError as problem:
        raise FolderError(f"{payload.path} is not the JSON its name says: {problem}") from problem


def samples(victim: Preprocessor, payloads: Sequence[Payload], progress: str | None = None) -> Iterator[Tensor]:
    """The victim's input tensor `[samples, *input_shape]` of each payload in turn, on the victim's device.

    `progress` names a progress bar. Raises FolderError at the first payload that the victim cannot read or makes
    another shape of than of the first.
    """
    shape: tuple[int, ...] | None = None
    for payload in tqdm(payloads, desc=progress, unit="payload", disable=None if progress else True):
        try:
            made = victim.preprocess([row(payload)])
        except BadPayload as problem:
            raise FolderError(f"{payload.path}: {problem}") from problem
        found = tuple(made.shape[1:])
        shape = shape or found
        if found != shape:
            raise FolderError(
                f"{payload.path}: the victim's handler makes an input of shape {found} of it and of {shape} of the"
                " others: teachers need one shape"
            )
        yield made


def _files(folder: Path) -> list[Path]:
    inside = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in inside if not any(part.startswith(".") for part in file.relative_to(folder).parts))
