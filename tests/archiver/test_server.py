"""A temporary TorchServe goes with the program that started it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.victims import build as victims

SERVE = """
import sys, time
from pathlib import Path
from calpow.archiver.server import served

with served({"victim": Path(sys.argv[1])}) as server:
    print(server.home, server.process.pid, *server.worker_pids("victim"), flush=True)
    time.sleep(600)
"""
PATIENCE_SECONDS = 60.0


@pytest.mark.server
def test_a_program_that_is_killed_leaves_neither_server_nor_worker_nor_folder(tmp_path: Path) -> None:
    victim = victims.vector_class(tmp_path, "victim")
    command = [sys.executable, "-c", SERVE, str(victim)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        home, guard, *workers = program.stdout.readline().split()
        family = [process.pid for process in psutil.Process(int(guard)).children(recursive=True)]
        assert {int(worker) for worker in workers} < set(family)
        program.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while Path(home).exists() or any(psutil.pid_exists(pid) for pid in [int(guard), *family]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
