"""Files of lines to which all workers append, and from which others read and take away: records and audits."""

import os
from collections.abc import Sequence
from pathlib import Path

from calpow.handler.errors import GateMisconfigured


def shared_file(named: str, what: str) -> Path:
    """Return the path of a file that all workers share. `what` is said of it in messages, in the plural.

    Raises GateMisconfigured for a relative path: each worker runs in its own directory, so a relative path would name
    a different file for each of them.
    """
    try:
        path = Path(named).expanduser()
    except RuntimeError as error:
        raise GateMisconfigured(f"{what} cannot go to {named}, there is no such home: give /absolute/path") from error
    if not path.is_absolute():
        raise GateMisconfigured(
            f"{what} cannot go to {named}, which is relative: workers run in folders of their own, give /absolute/path"
        )
    return path


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Append lines to a file, which is created if necessary, in one write that no other process can interrupt.

    The file may be moved away at any time. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        text = "".join(f"{line}\n" for line in lines).encode()
        # A line that was cut short, by a kill or a full disk, must not spoil the next one.
        torn = bool(text) and (size := os.fstat(file).st_size) > 0 and os.pread(file, 1, size - 1) != b"\n"
        written = os.write(file, b"\n" * torn + text)
    finally:
        os.close(file)
    if written < len(text) + torn:
        raise OSError(None, "no space left for all of it", str(path))
