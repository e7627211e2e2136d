"""Progress on stderr: bars on a terminal; else a line every few seconds, where files or measurements take long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from calpow.client.reply import one_line
from calpow.puzzle.solving.solver import Progress

_SECONDS_BETWEEN_UPDATES = 0.1
# Without a terminal, so that a log shows that the command is alive.
SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def stamps_bar() -> Iterator[Callable[[Progress], None]]:
    """Show the stamps of one puzzle and the time left; the bar starts again with every challenge."""
    # The delay keeps the bar away until the first challenge resets it. Without smoothing, the time left follows from
    # the mean time of a stamp: the time of a single one says little about the next.
    with tqdm(desc="proof of work", unit="stamp", leave=False, disable=None, delay=1e-3, smoothing=0) as bar:

        def show(progress: Progress) -> None:
            if progress.found == 0:
                bar.reset(total=progress.count)
            bar.update(progress.found - bar.n)

        yield show


class FilesBar:
    """Bar that shows how many files are done, and the puzzle that is being solved. Safe for threads.

    done, total: files done before the first is sent, and files in all.
    """

    def __init__(self, done: int, total: int) -> None:
        self._bar = tqdm(initial=done, total=total, unit="file", disable=None)
        self._log = ProgressLog("files", total, done)
        self._lock = threading.Lock()
        self._current = threading.local()
        self._updated = 0.0

    def start_file(self, file: str) -> None:
        """Note that the calling thread now sends this file."""
        self._current.name = one_line(Path(file).name)

    def show_work(self, progress: Progress) -> None:
        """Show the progress of the puzzle that the calling thread solves."""
        with self._lock:
            now = time.monotonic()
            if now - self._updated >= _SECONDS_BETWEEN_UPDATES:
                self._updated = now
                self._bar.set_postfix_str(f"{self._current.name}: {_stamps(progress)}")

    def finish_file(self) -> None:
        """Count one more file as done."""
        with self._lock:
            self._bar.update()
            self._log.advance()

    def close(self) -> None:
        """Leave the bar on the screen as it is."""
        with self._lock:
            self._bar.close()


@contextmanager
def turns_bar(total: int) -> Iterator[Callable[[], object]]:
    """Show the progress of a measurement of `total` turns; yield a function to call after each."""
    log = ProgressLog("turns", total)
    with tqdm(total=total, desc="measuring", unit="turn", leave=False, disable=None) as bar:

        def advance() -> None:
            bar.update()
            log.advance()

        yield advance


class ProgressLog:
    """Plain lines on stderr, unless it is a terminal: `calpow: files 412/1,400, about 25 s left`."""

    def __init__(self, name: str, total: int, done: int = 0) -> None:
        self._name = name
        self._total = total
        self._initial = self._done = done
        self._begun = self._logged = time.monotonic()

    def advance(self) -> None:
        """Count one more as done; print a line if the last one is long ago."""
        self._done += 1
        now = time.monotonic()
        if now - self._logged < SECONDS_BETWEEN_LINES or sys.stderr.isatty():
            return
        self._logged = now
        left = (now - self._begun) / (self._done - self._initial) * (self._total - self._done)
        estimate = f", about {left:,.0f} s left" if self._done < self._total else ""
        print(f"calpow: {self._name} {self._done:,}/{self._total:,}{estimate}", file=sys.stderr, flush=True)


def _stamps(progress: Progress) -> str:
    stamps = f"{progress.found}/{progress.count} stamps"
    left = progress.seconds_left or 0.0
    return stamps if left < 1.0 else f"{stamps}, {left:.0f} s left"
