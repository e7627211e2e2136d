"""A background worker runs one job at a time, in a thread that ends when there are no more."""

import os
import threading

import pytest

from calpow.client.prepaid.background import BackgroundWorker
from tests.support.minting import minting_threads, until


@pytest.fixture(autouse=True)
def _no_other_threads() -> None:
    """Let threads end that other tests have left idle."""
    until(lambda: not minting_threads())


def until_stopped(stop: threading.Event) -> None:
    stop.wait(30)


def test_a_job_runs_once_and_leaves_no_thread_behind() -> None:
    runs: list[str] = []
    BackgroundWorker().begin("a", lambda stop: runs.append("a"))
    until(lambda: not minting_threads())
    assert runs == ["a"]


def test_jobs_that_follow_one_another_share_a_thread() -> None:
    worker, threads = BackgroundWorker(), list[threading.Thread]()
    for name in "abc":
        ran = threading.Event()

        def job(stop: threading.Event, ran: threading.Event = ran) -> None:
            threads.append(threading.current_thread())
            ran.set()

        worker.begin(name, job)
        assert ran.wait(20)
    assert len(set(threads)) == 1


def test_a_job_that_raises_does_not_keep_the_next_from_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    worker, done = BackgroundWorker(), threading.Event()

    def fail(stop: threading.Event) -> None:
        raise ValueError("a broken job")

    worker.begin("a", fail)
    until(lambda: not minting_threads())
    worker.begin("a", lambda stop: done.set())
    assert done.wait(20)


def test_another_job_stops_the_current_one_and_begins_after_it() -> None:
    worker, order = BackgroundWorker(), list[str]()

    def first(stop: threading.Event) -> None:
        order.append("first begins")
        until_stopped(stop)
        order.append("first ends")

    worker.begin("first", first)
    until(lambda: order)
    worker.begin("second", lambda stop: order.append("second begins"))
    until(lambda: not minting_threads())
    assert order == ["first begins", "first ends", "second begins"]


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
    with worker._thread.get().changed:  # as another thread may hold it
        pid = os.fork()
        if pid == 0:  # nothing but an exit code may leave the child
            done = threading.Event()
            worker.begin("a", lambda stop: done.set())
            os._exit(0 if done.wait(20) else 1)
        _, status = os.waitpid(pid, 0)
    worker.stop()
    assert os.waitstatus_to_exitcode(status) == 0
    until(lambda: not minting_threads())
