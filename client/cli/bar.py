"""Progress bars on stderr, where that is a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from calpow.client.protocol.problems import one_line
from calpow.puzzle.solving.solver import Progress

_SECONDS_BETWEEN = 0.1


@contextmanager
def stamps_bar() -> Iterator[Callable[[Progress], None]]:
    """Show the stamps of one puzzle, and the time left; it begins anew with every challenge."""
    # The delay keeps the bar away until the first challenge resets it; without smoothing, the time left is that of
    # the mean stamp: one alone says little about the next.
    with tqdm(desc="proof of work", unit="stamp", leave=False, disable=None, delay=1e-3, smoothing=0) as bar:

        def show(progress: Progress) -> None:
            if progress.found == 0:
                bar.reset(total=progress.count)
            bar.update(progress.found - bar.n)

        yield show


class FilesBar:
    """Shows how many files are done, and what is being solved; for any number of threads.

    done, total: files before the first is asked, and in all.
    """

    def __init__(self, done: int, total: int) -> None:
        self._bar = tqdm(initial=done, total=total, unit="file", disable=None)
        self._lock = threading.Lock()
        self._asked = threading.local()
        self._shown_at = 0.0

    def asks(self, file: str) -> None:
        """The calling thread now asks for this file."""
        self._asked.name = one_line(Path(file).name)

    def solves(self, progress: Progress) -> None:
        """The calling thread is so far with the puzzle it has to solve."""
        with self._lock:
            now = time.monotonic()
            if now - self._shown_at >= _SECONDS_BETWEEN:
                self._shown_at = now
                self._bar.set_postfix_str(f"{self._asked.name}: {_how_far(progress)}")

    def finishes(self) -> None:
        """One more file is done."""
        with self._lock:
            self._bar.update()

    def close(self) -> None:
        """Leave the bar as it stands."""
        with self._lock:
            self._bar.close()


def _how_far(progress: Progress) -> str:
    stamps = f"{progress.found}/{progress.count} stamps"
    left = progress.seconds_left or 0.0
    return stamps if left < 1.0 else f"{stamps}, {left:.0f} s left"
