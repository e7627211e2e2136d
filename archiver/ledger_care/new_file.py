"""A file that is there whole or not at all, and that only its owner can read."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from calpow.archiver.errors import LedgerFileError
from calpow.archiver.progress import log_notes

if sys.platform != "win32":
    import fcntl

# Of a file that is being written. Nothing else may have it: such files of a command that was killed are removed.
_PART = ".calpow-part"
# Files that SQLite may keep beside a part.
_BESIDE = ("", "-journal", "-wal", "-shm")


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield an empty file to write, beside `path`, which gets that name and is on the disk at the end of the block.

    Raises LedgerFileError where there is a file of that name, also one that came meanwhile, and OSError. What could not
    be finished is removed, also what an earlier run left in this folder when it was killed.
    """
    if path.exists() or path.is_symlink():
        raise _taken(path)
    _remove_left_parts(path.parent)
    descriptor, part = _locked_part(path)
    try:
        yield part
        _sync(part)
        _name(part, path)
        with contextlib.suppress(OSError):  # not every file system can do this to a folder
            _sync(path.parent)
    finally:
        _remove(part)
        os.close(descriptor)


def _taken(path: Path) -> LedgerFileError:
    return LedgerFileError(f"{path} is there already: name a new file")


def _name(part: Path, path: Path) -> None:
    """Give a part its name. Raises LedgerFileError where another file has it, which a rename would replace."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise _taken(path) from None
    except OSError:  # not every file system has links
        part.rename(path)
    else:
        part.unlink()


def _locked_part(path: Path) -> tuple[int, Path]:
    """Create a part of a name of its own, which is locked as long as its descriptor is open, and return both."""
    while True:
        # A name of its own: another command that writes to the same path at the same time has another file.
        descriptor, name = tempfile.mkstemp(_PART, f"{path.name}.", path.parent)
        with contextlib.suppress(BlockingIOError):
            _lock(descriptor)
            if os.path.exists(name):
                return descriptor, Path(name)
        # Another run took it for a left one, before it was locked.
        os.close(descriptor)


def _remove_left_parts(folder: Path) -> None:
    """Remove the parts of commands that were killed, which no process has locked any more."""
    for part in folder.glob(f"*{_PART}"):
        try:
            descriptor = os.open(part, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        except OSError:  # it is gone, or another user's
            continue
        try:
            with contextlib.suppress(BlockingIOError):
                if not _lock(descriptor):
                    continue
                _remove(part)
                log_notes([f"{part} is removed: a command that was killed had left it unfinished"])
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file until it is closed, and return True.

    Return False where files cannot be locked: on Windows and on some network disks. Raises BlockingIOError where
    another process has locked it.
    """
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _remove(part: Path) -> None:
    for ending in _BESIDE:
        Path(f"{part}{ending}").unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
