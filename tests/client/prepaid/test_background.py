"""A background worker runs one job at a time, in a thread that ends with it."""

import os
import threading

from calpow.client.prepaid.background import BackgroundWorker
from tests.support.minting import minting_threads, until


def until_stopped(stop: threading.Event) -> None:
    stop.wait(30)


def test_a_job_runs_once_and_leaves_no_thread_behind() -> None:
    runs: list[str] = []
    BackgroundWorker().begin("a", lambda stop: runs.append("a"))
    until(lambda: not minting_threads())
    assert runs == ["a"]


def test_another_job_stops_the_current_one_and_begins_after_it() -> None:
    worker, order = BackgroundWorker(), list[str]()

    def first(stop: threading.Event) -> None:
        until_stopped(stop)
        order.append("first ends")

    worker.begin("first", first)
    worker.begin("second", lambda stop: order.append("second begins"))
    until(lambda: not minting_threads())
    assert order == ["first ends", "second begins"]


def test_a_job_that_runs_is_not_begun_again_until_it_is_stopped() -> None:
    worker, begun = BackgroundWorker(), list[int]()

    def job(stop: threading.Event) -> None:
        begun.append(1)
        until_stopped(stop)

    worker.begin("a", job)
    until(lambda: begun)
    worker.begin("a", job)
    assert len(minting_threads()) == 1
    worker.stop()
    worker.begin("a", job)
    until(lambda: len(begun) == 2)
    worker.stop()
    until(lambda: not minting_threads())


def test_a_job_that_was_stopped_before_it_began_is_not_run() -> None:
    worker, runs = BackgroundWorker(), list[str]()
    release = threading.Event()
    worker.begin("a", lambda stop: until_stopped(release))
    worker.begin("b", lambda stop: runs.append("b"))
    worker.stop()
    release.set()
    until(lambda: not minting_threads())
    assert runs == []


def test_a_fork_s_child_begins_jobs_of_its_own() -> None:
    worker = BackgroundWorker()
    worker.begin("a", until_stopped)
    with worker._current.get().lock:  # as another thread may hold it
        pid = os.fork()
        if pid == 0:  # nothing but an exit code may leave the child
            done = threading.Event()
            worker.begin("a", lambda stop: done.set())
            os._exit(0 if done.wait(20) else 1)
        _, status = os.waitpid(pid, 0)
    worker.stop()
    assert os.waitstatus_to_exitcode(status) == 0
    until(lambda: not minting_threads())
