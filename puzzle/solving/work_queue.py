"""Who works on which stamp of a puzzle, and what is found."""

from __future__ import annotations

import threading

from calpow.puzzle.solving.miners import Slice


class Board:
    """The stamps of one puzzle, shared by the workers of one solver.

    A worker without a stamp of its own joins the one that fewest are at, so that none is idle before the last stamp is
    found: tries have no memory, and those of two workers on one stamp are worth as much as on two.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._stamps: dict[int, str] = {}
        self._at = dict.fromkeys(range(count), 0)
        self._digests = 0
        self._closed = False

    def take(self, mine: int | None) -> int | None:
        """The ext to work on, `mine` if that is still wanted; None when nothing is."""
        with self._lock:
            if self._closed or not self._at:
                return None
            if mine in self._at:
                return mine
            ext = min(self._at, key=lambda each: (self._at[each], each))
            self._at[ext] += 1
            return ext

    def put(self, ext: int, made: Slice) -> None:
        """Count what a worker did; the first stamp of an ext is kept."""
        with self._lock:
            self._digests += made.digests
            if made.stamp is not None and ext in self._at:
                self._stamps[ext] = made.stamp
                del self._at[ext]

    def close(self) -> None:
        """Nothing is wanted any more."""
        with self._lock:
            self._closed = True

    @property
    def found(self) -> int:
        """How many stamps are there."""
        return len(self._stamps)

    @property
    def digests(self) -> int:
        """How many digests were taken by all."""
        return self._digests

    @property
    def stamps(self) -> list[str]:
        """Those that are there, in order."""
        with self._lock:
            return [self._stamps[ext] for ext in sorted(self._stamps)]
