"""Helpers for tests of `calpow`: run it in a process, feed it, read what it prints."""

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Longer than a command that ends at once takes on any machine, shorter than the wait that it must not do.
PATIENCE_SECONDS = 30.0
ResultLines = dict[str, dict[str, object]]


@contextmanager
def command_process(
    *arguments: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `calpow` in a process of its own; kill it on leaving if it still runs."""
    command = [sys.executable, "-m", "calpow.client", *arguments]
    with subprocess.Popen(command, stdout=stdout, stderr=stderr) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupt(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    """Send SIGINT; return stdout and stderr of the process, which must exit with 130."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    return out, err


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Make the data standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def error_line(err: str) -> str:
    """Return the only line on stderr, without the program's name and the line end."""
    assert err.startswith("calpow: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err[len("calpow: ") : -1]


def json_files(number: int) -> list[str]:
    """Write files to this folder, each with a body of its own; return their names."""
    names = [f"{index}.json" for index in range(number)]
    for name in names:
        Path(name).write_text(json.dumps({"name": name}))
    return names


def read_results(text: str) -> ResultLines:
    """Return the result lines by their file; no file may have two."""
    lines = [json.loads(line) for line in text.splitlines()]
    assert len({line["file"] for line in lines}) == len(lines)
    return {line["file"]: line for line in lines}


def echoed(names: list[str]) -> ResultLines:
    """Return the result lines of files that `json_files` wrote and an echoing server answered."""
    return {name: {"file": name, "status": 200, "answer": {"name": name}} for name in names}


def wait_for_lines(path: str, number: int) -> None:
    """Wait until the file exists and has `number` lines."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not Path(path).exists() or Path(path).read_bytes().count(b"\n") < number:
        assert time.monotonic() < deadline, f"{path} does not get {number} lines"
        time.sleep(0.01)
