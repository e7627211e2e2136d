"""The owner's data as the commands name it: a folder, the part that carries its payloads, and the order of its classes.

Folders come in alphabetical order, and the victim's output may have another. Everywhere, a payload's label is the index
of its class in the victim's output: the order is read from a file like TorchServe's `index_to_name.json`.
"""

import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calpow.archiver.archive_formats import copy_as_mar
from calpow.archiver.data.class_folders import list_names
from calpow.archiver.data.media_types import BODY
from calpow.archiver.data.payloads import PayloadFolder, read_folder
from calpow.archiver.errors import ClassOrderError

CLASSES_FILE = "index_to_name.json"
FORM = 'give {"0": "name of the first class", "1": ...}, as in TorchServe\'s index_to_name.json'


@dataclass(frozen=True)
class ClassNames:
    """All names of each class, by its index in the victim's output, and the file that they are from."""

    source: str
    names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class DataSource:
    """A folder of payloads, the part of a request that carries them, and a file that names the classes, if any."""

    folder: Path
    part: str = BODY
    classes: Path | None = None

    def read(self, victim: Path) -> PayloadFolder:
        """Read the folder, with the classes in the order of the victim's output where it is known.

        It is known from `classes`, or from the `index_to_name.json` in the victim's archive where its names are those
        of the folders. Raises FolderError, ClassOrderError or VictimError.
        """
        folder = read_folder(self.folder, self.part)
        if self.classes is not None:
            return reorder(folder, _places(folder, read_class_names(self.classes), self.folder))
        names = _archived_names(victim)
        places = None if names is None else _find_places(folder, names)
        if names is None or places is None or places == list(range(len(folder.class_names))):
            return folder
        ordered = reorder(folder, places)
        return replace(ordered, notes=(*ordered.notes, f"the classes are in the order of {names.source}"))


def read_class_names(path: Path) -> ClassNames:
    """Read a file like TorchServe's: {"0": "cat", ...}, or with a list of names a class. Raises ClassOrderError."""
    try:
        return _parse(path.read_bytes(), str(path))
    except OSError as problem:
        raise ClassOrderError(f"{path} cannot be read: {problem.strerror}") from problem


def reorder(folder: PayloadFolder, places: Sequence[int]) -> PayloadFolder:
    """Return the folder with each class at its place in the victim's output."""
    names = dict(zip(places, folder.class_names, strict=True))
    payloads = [replace(payload, label=places[payload.label]) for payload in folder.payloads]
    return replace(
        folder,
        class_names=tuple(names[index] for index in range(len(names))),
        payloads=tuple(sorted(payloads, key=lambda payload: payload.label)),
    )


def _archived_names(victim: Path) -> ClassNames | None:
    """Return the names in the victim's archive; None where it has none that can be read."""
    with tempfile.TemporaryDirectory(prefix="calpow-names-") as scratch:
        mar = victim
        if not zipfile.is_zipfile(mar):
            mar = Path(scratch) / "victim.mar"
            copy_as_mar(victim, mar)
        try:
            with zipfile.ZipFile(mar) as archive:
                return _parse(archive.read(CLASSES_FILE), f"{CLASSES_FILE} in {victim.name}")
        except (KeyError, zipfile.BadZipFile, ClassOrderError):
            return None


def _parse(text: bytes, source: str) -> ClassNames:
    try:
        document = json.loads(text)
    except ValueError as problem:
        raise ClassOrderError(f"{source} is not JSON ({problem}): {FORM}") from problem
    if isinstance(document, dict) and isinstance(document.get("object_type_names"), list):
        document = document["object_type_names"]
    if isinstance(document, list):
        document = {str(index): name for index, name in enumerate(document)}
    if not isinstance(document, dict) or not document:
        raise ClassOrderError(f"{source} names no classes: {FORM}")
    if set(document) != {str(index) for index in range(len(document))}:
        raise ClassOrderError(f"{source} has other keys than 0 to {len(document) - 1}: {FORM}")
    return ClassNames(source, tuple(_aliases(document[str(index)], source) for index in range(len(document))))


def _aliases(value: object, source: str) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) for name in names):
        raise ClassOrderError(f"{source} has a class whose name is no text: {FORM}")
    return tuple(names)


def _places(folder: PayloadFolder, names: ClassNames, data: Path) -> list[int]:
    """Return the place of each class. Raises ClassOrderError unless the file names just the folders' classes."""
    places = _find_places(folder, names) or _find_places(folder, _numbered(names))
    if places is not None:
        return places
    known = {_plain(name) for aliases in names.names for name in aliases}
    strange = [name for name in folder.class_names if _plain(name) not in known]
    folders = {_plain(name) for name in folder.class_names}
    missing = [aliases[0] for aliases in names.names if not folders & {_plain(name) for name in aliases}]
    reasons = []
    if strange:
        reasons.append(f"{data} has {list_names(strange, 'class folder')} that the file does not name")
    if missing:
        reasons.append(f"the file names {list_names(missing, 'class')} that {data} has no folder for")
    raise ClassOrderError(f"{names.source}: {'; '.join(reasons) or 'several classes have the name of one folder'}")


def _find_places(folder: PayloadFolder, names: ClassNames) -> list[int] | None:
    """Return the place of each class folder, or None unless folders and named classes correspond one to one."""
    for spelling in (str, _plain):
        index_of: Mapping[str, int] = {
            spelling(name): index for index, aliases in enumerate(names.names) for name in aliases
        }
        places = [index_of.get(spelling(name), -1) for name in folder.class_names]
        if sorted(places) == list(range(len(names.names))):
            return places
    return None


def _numbered(names: ClassNames) -> ClassNames:
    """Return the indices themselves as names, for folders that are called by them."""
    return ClassNames(names.source, tuple((str(index),) for index in range(len(names.names))))


def _plain(name: str) -> str:
    """Return a name without regard to case and to the characters between words."""
    return name.casefold().replace("_", " ").replace("-", " ").strip()
