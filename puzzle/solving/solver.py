"""The solver: mints the stamps of a puzzle on all cores, tells how far it is, and stops when it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone

from calpow.puzzle.errors import SolvingCancelled, SolvingTooLong, TooMuchWork
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import Engine, choose
from calpow.puzzle.solving.miners import Miner
from calpow.puzzle.solving.process_miner import MinerDied, ProcessMiner
from calpow.puzzle.solving.work_queue import Board

# Between two looks at the caller's wishes; Ctrl-C is noticed as soon.
SLICE_SECONDS = 0.002
# A process answers through a pipe: less often.
PROCESS_SLICE_SECONDS = 0.05
# After this long the machine's pace is known, and a puzzle that has no chance within the limit is given up.
PACE_SECONDS = 0.5
HOPELESS = 2.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a puzzle is: stamps found of `count`, seconds spent, and an estimate of those left (None at first)."""

    found: int
    count: int
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Minted:
    """The stamps of a puzzle, in order, and what they took: digests by all workers, and seconds."""

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
    """Mint the stamps of a puzzle, in order; takes `puzzle.expected_hashes` digests on average.

    workers: how many cores to use; by default all, for puzzles that are worth it.
    max_hashes: TooMuchWork is raised before anything is done for a puzzle that is expected to take more.
    max_seconds: SolvingTooLong is raised once they are over, or as soon as it is clear that they will not do.
    progress: called in this thread before the first stamp and as more are found; what it raises ends the work.
    cancel: when set, from any thread, the work ends at once with SolvingCancelled.
    date: what the stamps bear, by default now; in UTC.
    """
    if max_hashes is not None and puzzle.expected_hashes > max_hashes:
        raise TooMuchWork(puzzle.expected_hashes, max_hashes)
    engine = choose(puzzle)
    return mint(
        puzzle, engine, workers=workers, max_seconds=max_seconds, progress=progress, cancel=cancel, date=date
    ).stamps


def mint(
    puzzle: Puzzle,
    engine: Engine,
    *,
    workers: int | None = None,
    max_seconds: float | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    date: datetime | None = None,
) -> Minted:
    """As `solve`, with a certain engine, and with an account of what it took."""
    made = (date or datetime.now(timezone.utc)).strftime("%y%m%d%H%M%S")
    miner = engine.make(puzzle, made)  # compiles, once in a process: that is no pace to judge a puzzle by
    watch = _Watch(puzzle, max_seconds, progress, cancel)
    helpers = (engine.workers(puzzle) if workers is None else workers) - 1
    with _helpers(puzzle, made, engine, watch.board, helpers):
        watch.check()
        ext: int | None = None
        while (ext := watch.board.take(ext)) is not None:
            watch.board.put(ext, miner.mine(ext, SLICE_SECONDS))
            watch.check()
            if helpers > 0:
                time.sleep(0)  # lets go of Python's lock: else helpers wait 5 ms for it, whenever they ask what to do
    return Minted(watch.board.stamps, watch.board.digests, watch.seconds)


class _Watch:
    """What the caller is told and wishes, between slices."""

    def __init__(
        self,
        puzzle: Puzzle,
        max_seconds: float | None,
        progress: Callable[[Progress], None] | None,
        cancel: threading.Event | None,
    ) -> None:
        self.board = Board(puzzle.count)
        self._puzzle = puzzle
        self._max_seconds = max_seconds
        self._progress = progress
        self._cancel = cancel
        self._told = -1
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begun

    def check(self) -> None:
        """Tell the progress if there is any. Raises what `solve` says."""
        if self._cancel is not None and self._cancel.is_set():
            raise SolvingCancelled("the work was cancelled before the puzzle was solved")
        found, seconds = self.board.found, self.seconds
        if self._progress is not None and found > self._told:
            self._told = found
            self._progress(Progress(found, self._puzzle.count, seconds, self._seconds_left(found, seconds)))
        if self._max_seconds is not None and found < self._puzzle.count:
            self._check_time(found, seconds, self._max_seconds)

    def _check_time(self, found: int, seconds: float, limit: float) -> None:
        left = self._seconds_left(found, seconds) if seconds > min(PACE_SECONDS, limit) else None
        if left is not None and (seconds > limit or seconds + left > HOPELESS * limit):
            raise SolvingTooLong(seconds + left, limit)

    def _seconds_left(self, found: int, seconds: float) -> float | None:
        digests = self.board.digests
        return seconds / digests * ((self._puzzle.count - found) << self._puzzle.bits) if digests else None


@contextmanager
def _helpers(puzzle: Puzzle, date: str, engine: Engine, board: Board, count: int) -> Iterator[None]:
    """Let `count` other workers take part until the block ends; without them the work is slower, and no worse."""
    miners: list[Miner] = []
    threads: list[threading.Thread] = []
    try:
        for _ in range(count):
            with suppress(MinerDied, RuntimeError):  # as many as can be started
                miners.append(ProcessMiner(puzzle, date) if engine.by_process else engine.make(puzzle, date))
                thread = threading.Thread(target=_help, args=(board, miners[-1], engine), daemon=True)
                thread.start()
                threads.append(thread)
        yield
    finally:
        board.close()
        processes = [miner for miner in miners if isinstance(miner, ProcessMiner)]
        for process in processes:
            process.kill()
        for thread in threads:
            thread.join()
        for process in processes:
            process.close()


def _help(board: Board, miner: Miner, engine: Engine) -> None:
    seconds = PROCESS_SLICE_SECONDS if engine.by_process else SLICE_SECONDS
    ext: int | None = None
    with suppress(MinerDied):  # the caller's own thread mines on
        while (ext := board.take(ext)) is not None:
            board.put(ext, miner.mine(ext, seconds))
