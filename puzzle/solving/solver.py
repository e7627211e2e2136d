"""Solver of puzzles: finds the stamps on all cores, reports its progress and can be cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone

from calpow.puzzle.errors import MinerDied, SolvingCancelled, SolvingTooLong, TooMuchWork
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import Engine, select_engine
from calpow.puzzle.solving.miners import Miner
from calpow.puzzle.solving.process_miner import ProcessMiner
from calpow.puzzle.solving.work_queue import WorkQueue

# Cancellation, time limits and Ctrl-C are noticed after a slice at the latest.
SLICE_SECONDS = 0.002
# A slice of a process costs a round trip through pipes.
PROCESS_SLICE_SECONDS = 0.05
# After this time, the speed of the machine is known well enough to give up a puzzle that is expected to take more than
# GIVE_UP_FACTOR times the limit.
SPEED_ESTIMATE_SECONDS = 0.5
GIVE_UP_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a solver.

    found: the number of stamps found, of `count`.
    seconds: the time spent.
    seconds_left: an estimate of the time left; None before the first digest.
    """

    found: int
    count: int
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class SolverRun:
    """A finished run of the solver: the stamps in order, the digests that all workers took, and the time it took."""

    stamps: list[str]
    digests: int
    seconds: float


def solve(
    puzzle: Puzzle,
    *,
    workers: int | None = None,
    max_hashes: int | None = None,
    max_seconds: float | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    date: datetime | None = None,
) -> list[str]:
    """Return the stamps of a puzzle, in order. Takes `puzzle.expected_hashes` digests on average.

    workers: the number of cores to use; by default all, for puzzles that are large enough.
    max_hashes: raise TooMuchWork at once for a puzzle that is expected to take more digests.
    max_seconds: raise SolvingTooLong after this time, or as soon as it is clear that it will not be enough.
    progress: called in this thread, before the first stamp and whenever more are found. Its exceptions end the work.
    cancel: an event that ends the work with SolvingCancelled; it may be set from any thread.
    date: the date of the stamps in UTC, by default now.
    """
    if max_hashes is not None and puzzle.expected_hashes > max_hashes:
        raise TooMuchWork(puzzle.expected_hashes, max_hashes)
    engine = select_engine(puzzle)
    run = run_solver(
        puzzle, engine, workers=workers, max_seconds=max_seconds, progress=progress, cancel=cancel, date=date
    )
    return run.stamps


def run_solver(
    puzzle: Puzzle,
    engine: Engine,
    *,
    workers: int | None = None,
    max_seconds: float | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    date: datetime | None = None,
) -> SolverRun:
    """Solve a puzzle with the given engine. The other parameters are those of `solve`."""
    # To the second, which prepaid stamps need: see docs/decisions/0029.
    stamp_date = (date or datetime.now(timezone.utc)).strftime("%y%m%d%H%M%S")
    # The first miner of a process may have to be compiled: its creation is not part of the measured time.
    miner = engine.create_miner(puzzle, stamp_date)
    queue = WorkQueue(puzzle.count)
    monitor = _Monitor(puzzle, queue, max_seconds, progress, cancel)
    helpers = (engine.workers(puzzle) if workers is None else workers) - 1
    with _helper_workers(puzzle, stamp_date, engine, queue, helpers):
        monitor.check()
        ext: int | None = None
        while (ext := queue.take(ext)) is not None:
            queue.put(ext, miner.mine(ext, SLICE_SECONDS))
            monitor.check()
            if helpers > 0:
                time.sleep(0)  # releases the GIL: otherwise helpers wait 5 ms for it whenever they take work
    return SolverRun(queue.stamps, queue.digests, monitor.seconds)


class _Monitor:
    """Reports progress and enforces the caller's limits between slices."""

    def __init__(
        self,
        puzzle: Puzzle,
        queue: WorkQueue,
        max_seconds: float | None,
        progress: Callable[[Progress], None] | None,
        cancel: threading.Event | None,
    ) -> None:
        self._puzzle = puzzle
        self._queue = queue
        self._max_seconds = max_seconds
        self._progress = progress
        self._cancel = cancel
        self._reported = -1
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.perf_counter() - self._start

    def check(self) -> None:
        """Report new stamps. Raises SolvingCancelled, SolvingTooLong, or what the progress callback raises."""
        if self._cancel is not None and self._cancel.is_set():
            raise SolvingCancelled("the work was cancelled before the puzzle was solved")
        found, seconds = self._queue.found, self.seconds
        if self._progress is not None and found > self._reported:
            self._reported = found
            self._progress(Progress(found, self._puzzle.count, seconds, self._seconds_left(found, seconds)))
        if self._max_seconds is not None and found < self._puzzle.count:
            self._check_time(found, seconds, self._max_seconds)

    def _check_time(self, found: int, seconds: float, limit: float) -> None:
        left = self._seconds_left(found, seconds) if seconds > min(SPEED_ESTIMATE_SECONDS, limit) else None
        if left is not None and (seconds > limit or seconds + left > GIVE_UP_FACTOR * limit):
            raise SolvingTooLong(seconds + left, limit)

    def _seconds_left(self, found: int, seconds: float) -> float | None:
        digests = self._queue.digests
        return seconds / digests * ((self._puzzle.count - found) << self._puzzle.bits) if digests else None


@contextmanager
def _helper_workers(puzzle: Puzzle, date: str, engine: Engine, queue: WorkQueue, count: int) -> Iterator[None]:
    """Run up to `count` more workers until the block ends. The block solves the puzzle also if none can be started."""
    miners: list[Miner] = []
    threads: list[threading.Thread] = []
    try:
        for _ in range(count):
            with suppress(MinerDied, RuntimeError):  # RuntimeError: can't start new thread
                miner = ProcessMiner(puzzle, date) if engine.uses_processes else engine.create_miner(puzzle, date)
                miners.append(miner)
                thread = threading.Thread(target=_work, args=(queue, miner, engine), daemon=True)
                thread.start()
                threads.append(thread)
        yield
    finally:
        queue.close()
        processes = [miner for miner in miners if isinstance(miner, ProcessMiner)]
        for process in processes:
            process.kill()
        for thread in threads:
            thread.join()
        for process in processes:
            process.close()


def _work(queue: WorkQueue, miner: Miner, engine: Engine) -> None:
    """Mine the stamps that the queue hands out until the work is done or the miner dies."""
    seconds = PROCESS_SLICE_SECONDS if engine.uses_processes else SLICE_SECONDS
    ext: int | None = None
    with suppress(MinerDied):  # the caller's thread goes on mining
        while (ext := queue.take(ext)) is not None:
            queue.put(ext, miner.mine(ext, seconds))
