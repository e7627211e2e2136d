"""Folders of raw payloads: one folder per class with files below it, as torchvision's ImageFolder reads them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from calpow.archiver.data.class_folders import (
    MOST_LISTED,
    LeftOut,
    class_names,
    list_names,
    payload_files,
    shared_folders,
)
from calpow.archiver.data.media_types import BODY, JSON, media_type
from calpow.archiver.errors import FolderError
from calpow.handler.leakage.recording import Call


class CallSource(Protocol):
    """A victim that answers rows; see OpenVictim."""

    def calls(self, row: Mapping[str, object]) -> Sequence[Call]:
        """Return the model's calls when the handler answers a row."""
        ...


@dataclass(frozen=True)
class Payload:
    """The body of one request on disk, its class, the unit of data that it belongs to, and the part that carries it.

    A unit is never divided between teachers or resamples. It is the sub-folder of the class that holds the file (the
    pictures of one person, the copies of one image), or the file alone where there is no sub-folder. A sub-folder that
    is the only one of every class and has the same name in all (`images/`) makes no unit.
    """

    path: Path
    label: int
    unit: str
    part: str = BODY


@dataclass(frozen=True)
class PayloadFolder:
    """Classes with their payloads, in the order of paths within each class, and lines that the owner should read.

    A payload's label is its class's place in `class_names`: the alphabetical order, or that of the victim's output
    where it is known.
    """

    class_names: tuple[str, ...]
    payloads: tuple[Payload, ...]
    notes: tuple[str, ...] = ()

    def units_per_class(self) -> list[int]:
        """Return the number of units of each class."""
        units: list[set[str]] = [set() for _ in self.class_names]
        for payload in self.payloads:
            units[payload.label].add(payload.unit)
        return [len(of_class) for of_class in units]


def read_folder(path: Path, part: str = BODY) -> PayloadFolder:
    """List a folder of payloads, which requests carry in `part`.

    Linked folders are followed. Hidden files, the litter of file managers, broken links and files beside the class
    folders are left out, and `notes` say so. Raises FolderError unless there are two classes, all with files.
    """
    path = path.resolve()
    names, beside = class_names(path)
    left_out = LeftOut(beside=beside)
    files = {name: payload_files(path / name, left_out) for name in names}
    empty = [name for name in names if not files[name]]
    if empty:
        raise FolderError(
            f"{path}: no files in {list_names(empty, 'class folder')}: add payloads of each class or remove the folder"
        )
    shared = shared_folders([[file.relative_to(path / name) for file in files[name]] for name in names])
    payloads = [
        Payload(file, label, f"{name}/{_unit(file.relative_to(path / name), shared)}", part)
        for label, name in enumerate(names)
        for file in files[name]
    ]
    return PayloadFolder(names, tuple(payloads), left_out.describe())


def list_payloads(path: Path, part: str = BODY) -> tuple[Payload, ...]:
    """List all payload files below a folder, with label 0 and a unit each. Raises FolderError when there are none."""
    if not path.is_dir():
        raise FolderError(f"{path} is not a folder: give one with payload files")
    files = payload_files(path.resolve(), LeftOut())
    if not files:
        raise FolderError(f"{path} has no files: add payloads")
    return tuple(Payload(file, 0, str(file), part) for file in files)


def read_row(payload: Payload) -> dict[str, object]:
    """Return the row that TorchServe would pass to a handler: the payload's part, parsed if it is JSON, else its bytes.

    Raises FolderError when the file cannot be read.
    """
    try:
        body = payload.path.read_bytes()
        return {payload.part: json.loads(body) if media_type(payload.path) == JSON else body}
    except OSError as problem:
        raise FolderError(f"{payload.path} cannot be read: {problem.strerror}") from problem
    except ValueError as problem:
        raise FolderError(f"{payload.path} is not the JSON its name says: {problem}") from problem


@dataclass
class BadPayloads:
    """Payloads that cannot be used, each with its reason, collected so that one message lists them all.

    `usable` is True once any payload could be used. `cause` is the first exception that was added.
    """

    reasons: list[str] = field(default_factory=list)
    usable: bool = False
    cause: Exception | None = None

    def add(self, payload: Payload, reason: object, cause: Exception | None = None) -> None:
        """Add a payload; `reason` may be an exception, whose text may begin with the path already."""
        text = str(reason)
        self.cause = self.cause or cause
        self.reasons.append(text if text.startswith(str(payload.path)) else f"{payload.path}: {text}")

    def check(self, total: int) -> None:
        """Raise FolderError, with the first 10 reasons and the count, if any of `total` payloads was added."""
        if len(self.reasons) == 1:
            raise FolderError(self.reasons[0]) from self.cause
        if self.reasons:
            more = len(self.reasons) - MOST_LISTED
            lines = sorted(self.reasons)[:MOST_LISTED] + ([f"and {more:,} more"] if more > 0 else [])
            raise FolderError(
                f"{len(self.reasons):,} of {total:,} payloads cannot be used: mend or remove them: {'; '.join(lines)}"
            ) from self.cause


def part_advice(victim: CallSource, payload: Payload) -> str:
    """Return advice to give --part if the victim's handler looks for another part than the payload's; else "".

    The handler reads the payload once more, from a row that notes which of its parts are looked up.
    """
    row = _WatchedRow(read_row(payload))
    try:
        victim.calls(row)
    except Exception:  # the same failure again
        wanted = [name for name in row.looked_up if isinstance(name, str)]
        if wanted and payload.part not in wanted:
            # Handlers look for the likeliest name first.
            return f": its handler looks for {_quoted(wanted)}: give --part {wanted[0]}"
    return ""


def _unit(file: Path, shared: int) -> Path:
    """Return a file's unit within its class: the sub-folder below `shared` ones that make none, or the file itself."""
    return Path(*file.parts[: shared + 1]) if len(file.parts) > shared + 1 else file


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in dict.fromkeys(names))


class _WatchedRow(dict[str, object]):
    """A row of a batch that notes which of its parts are looked up."""

    def __init__(self, row: Mapping[str, object]) -> None:
        super().__init__(row)
        self.looked_up: list[object] = []

    def __getitem__(self, name: str) -> object:
        self.looked_up.append(name)
        return super().__getitem__(name)

    def get(self, name: str, default: object = None) -> object:
        self.looked_up.append(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.looked_up.append(name)
        return super().__contains__(name)
