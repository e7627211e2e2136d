"""The work queue of a puzzle."""

from calpow.puzzle.solving.miners import Slice
from calpow.puzzle.solving.work_queue import WorkQueue


def test_idle_workers_join_the_stamp_with_the_fewest_workers() -> None:
    queue = WorkQueue(3)
    assert [queue.take(None) for _ in range(4)] == [0, 1, 2, 0]
    queue.put(1, Slice("stamp", 5))
    assert queue.take(0) == 0
    assert queue.take(1) == 2
    queue.put(2, Slice("two", 1))
    queue.put(2, Slice("too late", 1))
    queue.put(0, Slice("zero", 1))
    assert queue.take(2) is None
    assert queue.stamps == ["zero", "stamp", "two"]
    assert queue.digests == 8
