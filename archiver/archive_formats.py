"""Formats in which torch-model-archiver writes model archives (`.mar`, `.tar.gz`, folders), all read as `.mar`."""

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from calpow.handler.errors import VictimError
from calpow.handler.model_archive import MANIFEST

SUFFIXES = (".mar", ".tar.gz", ".tgz")


def archive_stem(path: Path) -> str:
    """Return the name of a model archive without the suffix of its format."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")
    return path.name.removesuffix(suffix)


def copy_as_mar(source: Path, mar: Path) -> None:
    """Copy a model archive of any format to a `.mar`: byte for byte if it is one, otherwise its members.

    The same members always give the same bytes. Raises VictimError when the source cannot be read.
    """
    try:
        if source.is_dir():
            _write_mar(mar, _members_of_folder(source))
        elif tarfile.is_tarfile(source):
            with tarfile.open(source) as archive:
                _write_mar(mar, _members_of_tar(source, archive))
        else:
            shutil.copyfile(source, mar)
    except FileNotFoundError:
        raise VictimError(f"{source} does not exist: give the victim's .mar") from None
    except (OSError, EOFError, tarfile.TarError) as error:
        raise VictimError(f"{source} cannot be read: {error}") from error


def _members_of_folder(folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if not (folder / MANIFEST).is_file():
        raise VictimError(f"{folder} holds no {MANIFEST}: give a model archive that torch-model-archiver wrote")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                yield path.relative_to(folder).as_posix(), file


def _members_of_tar(source: Path, archive: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the files below the folder that holds the manifest, in order of their names."""
    members = sorted(archive.getmembers(), key=lambda member: member.name)
    root = next((member.name.removesuffix(MANIFEST) for member in members if member.name.endswith(MANIFEST)), None)
    if root is None:
        raise VictimError(f"{source} holds no {MANIFEST}: give a model archive that torch-model-archiver wrote")
    for member in members:
        if member.isdir() or not member.name.startswith(root):
            continue
        name = PurePosixPath(member.name.removeprefix(root))
        file = archive.extractfile(member) if member.isfile() or member.islnk() else None
        if file is None or name.is_absolute() or ".." in name.parts:
            raise VictimError(f"{source} holds {member.name}, which is no file of an archive: archive it again")
        with file:
            yield str(name), file


def _write_mar(mar: Path, members: Iterator[tuple[str, IO[bytes]]]) -> None:
    with zipfile.ZipFile(mar, "w") as archive:
        for name, content in members:
            # A ZipInfo without a time, so that the bytes do not depend on it.
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                shutil.copyfileobj(content, member)
