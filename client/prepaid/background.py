"""A background thread that does one job at a time."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from calpow.puzzle.process_local import ProcessLocal

Work = Callable[[threading.Event], None]

THREAD_NAME = "calpow-minter"
# Starting a thread takes several times as long as waking one. Answers of a fast model follow one another sooner.
IDLE_SECONDS = 0.2
# An interpreter that exits under a thread which compiles crashes; any other job stops within milliseconds.
_EXIT_SECONDS = 5.0


class BackgroundWorker:
    """Runs one job at a time in a daemon thread, which ends when it has had none for IDLE_SECONDS.

    A job is given an event, which is set when it has to stop: when another job is begun, when `stop` is called, and
    when the interpreter exits. A fork's child has no thread, and may begin jobs of its own.
    """

    def __init__(self) -> None:
        self._thread = ProcessLocal(_Jobs)

    def begin(self, name: str, work: Work) -> None:
        """Run a job instead of the current one, unless that has the same name. Does not wait for either."""
        self._thread.get().begin(_Job(name, work))

    def stop(self) -> None:
        """Tell the current job to stop. Does not wait for it."""
        self._thread.get().stop()


@dataclass(frozen=True)
class _Job:
    name: str
    work: Work
    stop: threading.Event = field(default_factory=threading.Event)


class _Jobs:
    """The running job of one worker in one process, the one that waits for its end, and the thread that runs them."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._running: _Job | None = None
        self._waiting: _Job | None = None
        self._thread: _JobThread | None = None
        self._closed = False

    def begin(self, job: _Job) -> None:
        with self.changed:
            latest = self._waiting or self._running
            if latest is not None and latest.name == job.name and not latest.stop.is_set():
                return
            self.stop()
            if self._thread is None:
                thread = _JobThread(self)
                with suppress(RuntimeError):  # where no thread can be started, the job is not done
                    thread.start()
                    self._thread = thread
            if self._thread is not None:
                self._waiting = job
                self.changed.notify()

    def stop(self) -> None:
        with self.changed:
            self._waiting = None
            if self._running is not None:
                self._running.stop.set()

    def close(self) -> None:
        """Tell the current job to stop, and the thread to end after it."""
        with self.changed:
            self.stop()
            self._closed = True
            self.changed.notify()

    def run(self) -> None:
        """Run jobs until there has been none for IDLE_SECONDS, or one raises."""
        try:
            while (job := self._next()) is not None:
                job.work(job.stop)
        finally:
            self._end()

    def _next(self) -> _Job | None:
        with self.changed:
            self._running = None
            if self._waiting is None and not self._closed:
                self.changed.wait(IDLE_SECONDS)
            self._running, self._waiting = self._waiting, None
            if self._running is None:
                self._thread = None
            return self._running

    def _end(self) -> None:
        with self.changed:
            if self._thread is threading.current_thread():
                self._running = self._thread = None


class _JobThread(threading.Thread):
    """A thread that runs the jobs of one worker."""

    def __init__(self, jobs: _Jobs) -> None:
        super().__init__(name=THREAD_NAME, daemon=True)
        self.jobs = jobs

    def run(self) -> None:
        self.jobs.run()


@atexit.register
def _stop_threads() -> None:
    threads = [thread for thread in threading.enumerate() if isinstance(thread, _JobThread)]
    for thread in threads:
        thread.jobs.close()
    for thread in threads:
        thread.join(_EXIT_SECONDS)
