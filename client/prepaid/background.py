"""A background thread that does one job at a time."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from contextlib import suppress

from calpow.puzzle.process_local import ProcessLocal

Job = Callable[[threading.Event], None]

THREAD_NAME = "calpow-minter"
# An interpreter that exits under a thread which compiles crashes; any other job stops within milliseconds.
_EXIT_SECONDS = 5.0


class BackgroundWorker:
    """Runs one job at a time in a daemon thread, which ends with its job.

    A job is given an event, which is set when it has to stop: when another job is begun, when `stop` is called, and
    when the interpreter exits. A fork's child has no thread, and may begin jobs of its own.
    """

    def __init__(self) -> None:
        self._current = ProcessLocal(_Current)

    def begin(self, name: str, job: Job) -> None:
        """Run a job instead of the current one, unless that has the same name. Does not wait for either."""
        current = self._current.get()
        with current.lock:
            if current.thread is not None:
                if current.thread.job_name == name and current.thread.is_running():
                    return
                current.thread.stop.set()
            thread = _JobThread(name, job, after=current.thread)
            with suppress(RuntimeError):  # where no thread can be started, the job is not done
                thread.start()
                current.thread = thread

    def stop(self) -> None:
        """Tell the current job to stop. Does not wait for it."""
        current = self._current.get()
        with current.lock:
            if current.thread is not None:
                current.thread.stop.set()


class _JobThread(threading.Thread):
    """A thread that runs a job after the thread before it has ended."""

    def __init__(self, job_name: str, job: Job, after: _JobThread | None) -> None:
        super().__init__(name=THREAD_NAME, daemon=True)
        self.job_name = job_name
        self.stop = threading.Event()
        self._job = job
        self._after = after

    def is_running(self) -> bool:
        return self.is_alive() and not self.stop.is_set()

    def run(self) -> None:
        if self._after is not None:
            self._after.join()
            self._after = None
        if not self.stop.is_set():
            self._job(self.stop)


class _Current:
    """The latest thread of one worker in one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: _JobThread | None = None


@atexit.register
def _stop_threads() -> None:
    threads = [thread for thread in threading.enumerate() if isinstance(thread, _JobThread)]
    for thread in threads:
        thread.stop.set()
    for thread in threads:
        thread.join(_EXIT_SECONDS)
