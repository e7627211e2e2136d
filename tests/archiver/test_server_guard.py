"""The guard of a server ends everything that the server started, however its caller ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

PATIENCE_SECONDS = 30.0
# A server that starts a worker, and writes down the process ids of both.
SERVER = "sleep 1000 & echo $! > pids; echo $$ >> pids; "
# Under nohup, and as a job of a script, a program inherits that it ignores two of the signals.
CALLER = """
import signal, subprocess, sys, time
for number in (signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_DFL)
guard = [sys.executable, "-m", "calpow.archiver.server_guard", sys.argv[1], "sh", "-c", sys.argv[2]]
with subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True, cwd=sys.argv[1]) as process:
    {then}
"""


@contextlib.contextmanager
def guarded(home: Path, then: str, last: str = "wait") -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program that has a guarded server, from when that is up."""
    command = [sys.executable, "-c", CALLER.format(then=then), str(home), SERVER + last]
    with subprocess.Popen(command) as caller:
        try:
            wait_until(lambda: len(pids(home)) == 2)
            yield caller
        finally:
            caller.kill()


def pids(home: Path) -> list[int]:
    """Return the process ids of the server's worker and of the server, as far as they are written."""
    file = home / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def runs(pid: int) -> bool:
    """Return whether a process runs; one that has ended may still wait for its parent."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_ends_the_caller_ends_the_server_and_its_worker(home: Path, number: signal.Signals) -> None:
    with guarded(home, "process.wait()") as caller:
        family = pids(home)
        os.kill(caller.pid, number)
        wait_until(lambda: not any(map(psutil.pid_exists, family)))
        wait_until(lambda: not home.exists())


def test_a_guard_that_is_killed_leaves_no_server_and_no_worker(home: Path) -> None:
    with guarded(home, "time.sleep(1000)"):
        family = pids(home)
        os.kill(psutil.Process(family[1]).ppid(), signal.SIGKILL)
        wait_until(lambda: not any(map(psutil.pid_exists, family)))


def test_a_caller_that_lets_go_of_its_guard_ends_the_server(home: Path) -> None:
    with guarded(home, "time.sleep(1); process.stdin.close(); process.wait()") as caller:
        family = pids(home)
        assert caller.wait(PATIENCE_SECONDS) == 0
        assert not any(map(runs, family))
        assert not home.exists()


def test_a_server_that_ends_by_itself_leaves_no_worker_and_its_log(home: Path) -> None:
    with guarded(home, "sys.exit(process.wait())", "sleep 1; exit 3") as caller:
        family = pids(home)
        assert caller.wait(PATIENCE_SECONDS) == 3
        assert not any(map(runs, family))
        assert home.exists()
