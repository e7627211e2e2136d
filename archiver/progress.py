"""Progress of long phases on stderr: a bar on a terminal, else a line every few seconds and one at the end."""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click
from tqdm import tqdm

# Without a terminal: a line for each of these periods, so that a log shows that the command is alive.
SECONDS_BETWEEN_LINES = 10.0
# A phase that took as long says at its end how long it took.
LONG_SECONDS = 1.0

_Item = TypeVar("_Item")


def track(items: Iterable[_Item], phase: str, unit: str, total: int | None = None) -> Iterator[_Item]:
    """Yield items and show how many are done. `total` is their number where `items` is no collection."""
    if total is None and isinstance(items, Collection):
        total = len(items)
    with progress(phase, unit, total) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def progress(phase: str, unit: str, total: int | None = None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show the progress of a phase until the block ends; yield a function to call with each number of units done.

    done: the number of units that an earlier run did.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, initial=done, desc=phase, unit=unit) as bar:

            def advance(units: int) -> None:
                bar.update(units)

            yield advance
    else:
        log = _ProgressLog(phase, unit, total, done)
        yield log.advance
        log.end()


def announce(phase: str) -> None:
    """Say that a phase begins that takes seconds and has no steps to count."""
    print(f"{_command()}: {phase}", file=sys.stderr, flush=True)


def log_notes(notes: Iterable[str]) -> None:
    """Print what the owner should read, a line each."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr, flush=True)


class _ProgressLog:
    """Plain lines about the progress of one phase."""

    def __init__(self, phase: str, unit: str, total: int | None, done: int) -> None:
        self._phase = phase
        self._unit = unit
        self._total = total
        self._initial = self._done = done
        self._begun = self._logged = time.monotonic()

    def advance(self, units: int) -> None:
        """Count units as done; print a line if the last one is long ago."""
        self._done += units
        now = time.monotonic()
        if now - self._logged >= SECONDS_BETWEEN_LINES:
            self._logged = now
            print(f"{_command()}: {self._phase} {self._count(now)}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Print how long the phase took, if it was long."""
        spent = time.monotonic() - self._begun
        if spent >= LONG_SECONDS:
            print(f"{_command()}: {self._phase} took {spent:.1f} s", file=sys.stderr, flush=True)

    def _count(self, now: float) -> str:
        if self._total is None:
            return f"{self._done:,} {self._unit}s"
        count = f"{self._done:,}/{self._total:,}"
        new, left = self._done - self._initial, self._total - self._done
        if new <= 0 or left <= 0:
            return count
        return f"{count}, about {duration((now - self._begun) * left / new)} left"


def _command() -> str:
    """Return the name of the command that runs, or of the program where the tools are used as a library."""
    context = click.get_current_context(silent=True)
    return (context.info_name if context else None) or "calpow"


def duration(seconds: float) -> str:
    """Return a duration in round numbers: `25 s`, `3 min`, `2.5 h`."""
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    if seconds < 99.5 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
