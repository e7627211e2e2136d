"""A command ends when its work is done, whatever threads the victim has started in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import error_line
from tests.support.victims import build as victims

pytestmark = pytest.mark.slow

THREADED = """
import threading, time
from vector_handler import VectorHandler

class Threaded(VectorHandler):
    def initialize(self, context):
        super().initialize(context)
        threading.Thread(target=time.sleep, args=(600,)).start()
"""
IN_MICRO_BATCHES = """
from ts.handler_utils.micro_batching import MicroBatching
from vector_handler import VectorHandler

class InMicroBatches(VectorHandler):
    def __init__(self):
        super().__init__()
        self.handle = MicroBatching(self, micro_batch_size=2)
"""


def check(folder: Path, handler: str) -> "subprocess.CompletedProcess[str]":
    """Run `calpow check` in a process of its own on a victim with this handler."""
    (folder / "own_handler.py").write_text(handler)
    victim = victims.with_handler(folder, folder / "own_handler.py")
    victims.vectors(folder / "data", per_class=8)
    command = [sys.executable, "-m", "calpow.client", "check", str(victim), "--data", str(folder / "data")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


def test_a_command_ends_although_a_thread_of_the_victim_does_not(tmp_path: Path) -> None:
    done = check(tmp_path, THREADED)
    assert done.returncode == 0, done.stderr
    assert "Nothing stands against protecting victim.mar" in done.stdout


def test_a_command_ends_although_the_victim_works_in_micro_batches(tmp_path: Path) -> None:
    done = check(tmp_path, IN_MICRO_BATCHES)
    assert (done.returncode, done.stdout) == (2, "")
    assert error_line(done.stderr)
