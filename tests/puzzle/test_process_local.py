"""A process local value belongs to one process, and to all of its threads."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from calpow.puzzle.process_local import ProcessLocal


def exit_code_of_child(passes: bool) -> int:
    os._exit(0 if passes else 1)


def test_a_process_always_gets_the_same_value() -> None:
    local = ProcessLocal(object)
    assert local.get() is local.get()


def test_a_fork_s_child_gets_its_own_value_and_leaves_the_parent_s_alone() -> None:
    local = ProcessLocal(threading.Lock)
    lock = local.get()
    with lock:
        pid = os.fork()
        if pid == 0:  # pragma: no cover
            exit_code_of_child(local.get().acquire(timeout=0) and lock.locked())
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert local.get() is lock


def test_threads_that_ask_at_once_get_the_same_value() -> None:
    def slowly() -> object:
        time.sleep(0.01)
        return object()

    local = ProcessLocal(slowly)
    with ThreadPoolExecutor(8) as threads:
        values = set(threads.map(lambda _: local.get(), range(8)))
    assert len(values) == 1
