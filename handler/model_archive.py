"""Model archives (`.mar`) as torch-model-archiver writes them: manifest and unpacking."""

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import cast

from calpow.handler.errors import VictimError

MANIFEST = "MAR-INF/MANIFEST.json"


def read_manifest(mar: Path, named: Path | None = None) -> dict[str, object]:
    """Return the `model` section of an archive's manifest.

    Raises VictimError when the file is not a model archive; the message calls it `named`, by default `mar`.
    """
    return cast("dict[str, object]", read_whole_manifest(mar, named)["model"])


def read_whole_manifest(mar: Path, named: Path | None = None) -> dict[str, object]:
    """Return an archive's manifest, whose `model` is a section that names a handler. Raises as `read_manifest`."""
    name = named or mar
    try:
        with zipfile.ZipFile(mar) as archive:
            manifest = json.loads(archive.read(MANIFEST))
            handler = manifest["model"]["handler"]
    except FileNotFoundError:
        raise VictimError(f"{name} does not exist: give the victim's .mar") from None
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise VictimError(f"{name} is not a model archive that torch-model-archiver wrote: {error}") from error
    if not isinstance(handler, str):
        raise VictimError(f"{name} names no handler in its manifest: archive it with --handler")
    return cast("dict[str, object]", manifest)


def unpack(mar: Path, directory: Path) -> None:
    """Extract an archive into a directory, completely or not at all, unless the directory exists.

    Workers that start together agree on the result, because the last step is a rename: a worker that comes second
    finds the directory and uses it.
    """
    if directory.is_dir():
        return
    scratch = tempfile.mkdtemp(prefix=".unpacking-", dir=directory.parent)
    try:
        with zipfile.ZipFile(mar) as archive:
            archive.extractall(scratch)
        os.rename(scratch, directory)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        if not directory.is_dir():
            raise
