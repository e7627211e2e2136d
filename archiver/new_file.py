"""A file that is there whole or not at all, and that only its owner can read."""

import contextlib
import os
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
    part = path.with_name(f"{path.name}.part")
    try:
        # New, because a file that is there keeps its owner and its mode, and a link leads elsewhere.
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield part
        _sync(part)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
