"""A pseudo-terminal for programs that show their progress."""

import os
import select
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Open a pseudo-terminal of 80 by 24; yields our end and the program's end."""
    termios = pytest.importorskip("termios", reason="this system has no pseudo-terminals")
    fcntl = pytest.importorskip("fcntl")
    ours, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        yield ours, theirs
    finally:
        os.close(theirs)
        os.close(ours)


def read_until(terminal: int, text: str) -> str:
    """Read and return what a program shows until it contains the text."""
    shown, deadline = b"", time.monotonic() + 30
    while text.encode() not in shown:
        ready, _, _ = select.select([terminal], [], [], deadline - time.monotonic())
        assert ready, f"{text!r} is not shown, only {shown!r}"
        shown += os.read(terminal, 100_000)
    return shown.decode()
