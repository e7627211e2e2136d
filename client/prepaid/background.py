"""One thread that mints while nobody waits for it."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakSet

Job = Callable[[threading.Event], None]

# An interpreter that ends under a thread which compiles crashes; anything else stops within milliseconds.
_LAST_SECONDS = 5.0


class Minter:
    """Runs one job at a time in a daemon thread, which ends with its job: nothing is left behind at rest.

    A job is told to stop by the event that it is given: when another is begun, when `stop` is called, and when
    the interpreter exits. A fork's child has no thread, and may begin jobs of its own.
    """

    def __init__(self) -> None:
        self.renew()
        _all.add(self)

    def renew(self) -> None:
        """Forget the thread: for a child, whose lock and thread stayed with its parent."""
        self._lock = threading.Lock()
        self._name = ""
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def begin(self, name: str, job: Job) -> None:
        """Run this job instead of the one that runs now, unless that bears the same name. Does not wait for either."""
        with self._lock:
            if self._name == name and self._thread is not None and self._thread.is_alive() and not self._stop.is_set():
                return
            self._name = name
            self._stop.set()
            self._stop = stop = threading.Event()
            before = self._thread
            thread = threading.Thread(target=_run, args=(before, job, stop), name="calpow-minter", daemon=True)
            with suppress(RuntimeError):  # where no thread can be started, nothing is done meanwhile
                thread.start()
                self._thread = thread

    def stop(self) -> None:
        """Tell the job to stop. Does not wait for it."""
        with self._lock:
            self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait until the last job has ended, but no longer than this."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)


def _run(before: threading.Thread | None, job: Job, stop: threading.Event) -> None:
    if before is not None:
        before.join()
    if not stop.is_set():
        job(stop)


_all: WeakSet[Minter] = WeakSet()


@atexit.register
def _stop_all() -> None:
    minters = list(_all)
    for minter in minters:
        minter.stop()
    for minter in minters:
        minter.join(_LAST_SECONDS)


def _renew_all() -> None:
    for minter in list(_all):
        minter.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
