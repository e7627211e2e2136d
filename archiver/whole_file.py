"""A file that is replaced once the new one is complete."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield the name of a file to write, which takes the place of `path` at the end of the block. Raises OSError.

    It lies in a folder of its own, which is this user's alone: nothing that others have put beside `path` is written
    to, no other file is touched, and two commands that write to one path do not write into the same file.
    """
    folder = Path(tempfile.mkdtemp(prefix=".calpow-", dir=path.parent))
    try:
        yield folder / path.name
        (folder / path.name).replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
