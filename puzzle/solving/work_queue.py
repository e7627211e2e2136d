"""The work queue of one puzzle."""

from __future__ import annotations

import threading

from calpow.puzzle.solving.miners import Slice


class WorkQueue:
    """Work queue shared by the solver's threads; collects the stamps they find.

    A worker whose stamp was found joins the open stamp with the fewest workers, so that no worker is idle before the
    last stamp is found. Tries are independent: two workers on one stamp make as much progress as on two stamps. See
    docs/decisions/0026.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._stamps: dict[int, str] = {}
        self._workers_at = dict.fromkeys(range(count), 0)  # number of workers, by the ext of open stamps
        self._digests = 0
        self._closed = False

    def take(self, current: int | None) -> int | None:
        """Return the ext to work on: `current` as long as that stamp is open, or None if there is no more work."""
        with self._lock:
            if self._closed or not self._workers_at:
                return None
            if current in self._workers_at:
                return current
            ext = min(self._workers_at, key=lambda ext: (self._workers_at[ext], ext))
            self._workers_at[ext] += 1
            return ext

    def put(self, ext: int, result: Slice) -> None:
        """Add the digests of a slice, and its stamp if it is the first of this ext."""
        with self._lock:
            self._digests += result.digests
            if result.stamp is not None and ext in self._workers_at:
                self._stamps[ext] = result.stamp
                del self._workers_at[ext]

    def close(self) -> None:
        """End the work: from now on `take` returns None."""
        with self._lock:
            self._closed = True

    @property
    def found(self) -> int:
        """The number of stamps found."""
        return len(self._stamps)

    @property
    def digests(self) -> int:
        """The number of digests that all workers took."""
        return self._digests

    @property
    def stamps(self) -> list[str]:
        """The stamps found, in order of their ext."""
        with self._lock:
            return [self._stamps[ext] for ext in sorted(self._stamps)]
