"""Class folders on disk: which folders are classes, which files below them are payloads, and what is left out."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calpow.archiver.errors import FolderError

# What file managers and archive programs leave behind, in lower case. Names that begin with a dot are hidden anyway.
LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})
# Names of the parts of a data set, in lower case: folders of these names hold classes and are none.
SPLITS = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"}
    | {"heldout", "held-out", "held_out", "held out", "holdout"}
)
EXPECTED = "expected is one sub-folder of payload files for each class, as torchvision.datasets.ImageFolder reads it"
# How many names a message lists.
MOST_LISTED = 10


def class_names(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the class folders, and those of all other entries. Raises FolderError."""
    if not path.is_dir():
        raise FolderError(f"{path} is not a folder: {EXPECTED}")
    entries = sorted(path.iterdir())
    folders = [entry.name for entry in entries if entry.is_dir() and not _is_litter(entry.name)]
    others = [entry.name for entry in entries if entry.name not in folders]
    if folders and all(name.lower() in SPLITS for name in folders):
        raise FolderError(
            f"{path} holds {list_names(folders, 'folder')}, parts of a data set: give {path / folders[0]}"
        )
    if len(folders) == 1:
        inner = [entry.name for entry in sorted((path / folders[0]).iterdir()) if entry.is_dir()]
        if len(inner) > 1:
            raise FolderError(
                f"{path} holds one class folder, {folders[0]}, with {list_names(inner, 'folder')} in it: give"
                f" {path / folders[0]} if these are the classes"
            )
    if len(folders) < 2:
        found = f"one class folder, {folders[0]}" if folders else "no class folders"
        files = f" and {list_names(others, 'file')}" if others else ""
        raise FolderError(f"{path} holds {found}{files}: {EXPECTED}, for two classes or more")
    return tuple(folders), others


@dataclass
class LeftOut:
    """Names of the files and folders that are no payloads, by reason."""

    beside: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)

    def describe(self) -> tuple[str, ...]:
        """Return a line for each reason that applies."""
        litter = [*self.litter, *(name for name in self.beside if _is_litter(name))]
        beside = [name for name in self.beside if not _is_litter(name)]
        reasons = (
            (beside, "entry", "beside the class folders"),
            (litter, "entry", "hidden, or left by a file manager"),
            (self.broken, "entry", "broken links, or no files"),
            (self.loops, "link", "back to a folder above"),
        )
        return tuple(f"left out {list_names(names, kind)}, {why}" for names, kind, why in reasons if names)


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def payload_files(folder: Path, left_out: LeftOut) -> list[Path]:
    """Return all payload files below a folder in the order of their paths, and note the others in `left_out`."""

    def refuse(problem: OSError) -> None:
        raise FolderError(f"{problem.filename} cannot be read: {problem.strerror}") from problem

    files: list[Path] = []
    for root, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        here = Path(root)
        above = {os.path.realpath(parent) for parent in (here, *here.parents)}
        followed = []
        for name in folders:
            if _is_litter(name):
                left_out.litter.append(str((here / name).relative_to(folder.parent)))
            elif os.path.realpath(here / name) in above:
                left_out.loops.append(str((here / name).relative_to(folder.parent)))
            else:
                followed.append(name)
        folders[:] = followed
        for name in names:
            if _is_litter(name):
                left_out.litter.append(str((here / name).relative_to(folder.parent)))
            elif (here / name).is_file():
                files.append(here / name)
            else:
                left_out.broken.append(str((here / name).relative_to(folder.parent)))
    return sorted(files)


def shared_folders(classes: Sequence[Sequence[Path]]) -> int:
    """Return how many sub-folders, one in the other, are the only ones of every class and have the same names in all.

    `classes` holds the files of each class, relative to the class folder. Files beside such a sub-folder do not matter.
    """
    depth = 0
    while True:
        names = [{file.parts[depth] for file in files if len(file.parts) > depth + 1} for files in classes]
        if len(names[0]) != 1 or any(other != names[0] for other in names):
            return depth
        depth += 1


def list_names(names: Sequence[str], kind: str) -> str:
    """Return the count, the kind and the first names: `class folder a`, or `12 class folders (a, b, ...)`."""
    if len(names) == 1:
        return f"{kind} {names[0]}"
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}es" if kind.endswith("ss") else f"{kind}s"
    listed = ", ".join(names[:MOST_LISTED]) + (", ..." if len(names) > MOST_LISTED else "")
    return f"{len(names):,} {plural} ({listed})"
