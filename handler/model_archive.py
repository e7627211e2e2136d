"""Model archives (`.mar`) as torch-model-archiver writes them: reading the manifest, and unpacking."""

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from calpow.handler.errors import VictimError

MANIFEST = "MAR-INF/MANIFEST.json"


def read_manifest(mar: Path) -> dict[str, object]:
    """Return the `model` section of an archive's manifest. Raises VictimError when the file is not a model archive."""
    try:
        with zipfile.ZipFile(mar) as archive:
            section = json.loads(archive.read(MANIFEST))["model"]
            handler = section["handler"]
    except FileNotFoundError:
        raise VictimError(f"{mar} does not exist: give the victim's .mar") from None
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise VictimError(f"{mar} is not a model archive that torch-model-archiver wrote: {error}") from error
    if not isinstance(handler, str):
        raise VictimError(f"{mar} names no handler in its manifest: archive it with --handler")
    return dict(section)


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
