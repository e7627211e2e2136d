"""A file that is there whole or not at all, and that only its owner can read."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from calpow.archiver.errors import LedgerFileError


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield an empty file to write, beside `path`, which gets that name and is on the disk at the end of the block.

    Raises LedgerFileError where there is a file of that name, and OSError. What could not be finished is removed.
    """
    if path.exists() or path.is_symlink():
        raise LedgerFileError(f"{path} is there already: name a new file")
    # A name of its own: another command that writes to the same path at the same time has another file.
    descriptor, name = tempfile.mkstemp(".part", f"{path.name}.", path.parent)
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
        _sync(part)
        part.rename(path)
        with contextlib.suppress(OSError):  # not every file system can do this to a folder
            _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
