"""The program between a command and its TorchServe: it ends the server when the command ends, however that happens.

`python -m calpow.archiver.server_guard HOME COMMAND...` runs COMMAND until it ends, or until standard input, a pipe
that only the caller holds, is closed: the system closes it even for a caller that was killed. Then it ends all
processes of COMMAND and removes the folder HOME. If the guard itself is killed, a shell among these processes ends them
in the same way.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import psutil

STOP_SECONDS = 15.0
POLL_SECONDS = 0.02
# Processes are killed, not asked to end: TorchServe would take four seconds for that, half of them waiting for late
# requests, and all that it keeps is below HOME.
# Runs its arguments in its own place, beside a shell that waits for the guard's end of a pipe to be closed. A signal on
# the parent's death (prctl) would reach TorchServe's first process, and neither Java nor the workers.
_WATCHED = """
exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } &
exec "$@" 3<&-
"""


def main(home: Path, command: Sequence[str]) -> int:
    """Run a command to its end, or to the end of standard input; return its exit code."""
    over, released = threading.Event(), threading.Event()

    def wait_for_caller() -> None:
        # Not sys.stdin, whose lock a daemon thread would hold when Python ends.
        while os.read(0, 1):
            pass
        released.set()
        over.set()

    def wait_for_server() -> None:
        process.wait()
        over.set()

    def stop(number: int, frame: FrameType | None) -> None:
        over.set()

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    # Nothing is ever written: what is held open is `process.stdin`.
    process = subprocess.Popen(["sh", "-c", _WATCHED, "sh", *command], stdin=subprocess.PIPE, start_new_session=True)
    for wait in (wait_for_caller, wait_for_server):
        threading.Thread(target=wait, daemon=True).start()
    over.wait()
    end_session(process.pid)
    code = process.wait()
    if released.is_set():  # otherwise the caller may want to read the log
        shutil.rmtree(home, ignore_errors=True)
    return code


def end_session(leader: int) -> None:
    """Kill all processes of the group that a session's leader began, and wait for their ends, STOP_SECONDS at most."""
    members = list(_group(leader))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    deadline = time.monotonic() + STOP_SECONDS
    while not all(map(_has_ended, members)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _has_ended(process: psutil.Process) -> bool:
    """Return whether a process runs no more; how soon the system forgets it is the matter of its parent."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _group(leader: int) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == leader:
                yield process


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
