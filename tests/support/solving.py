"""Every way in which the solver can run on this machine, and programs that run it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.puzzle import MAX_BITS, Puzzle
from calpow.puzzle.solving.engines import FAST, MEMORY_HARD, PYTHON, has_fast_engine

RESOURCE = "5f0c0123456789abcdef0123456789ab"
# Puzzles that take years.
ENDLESS = Puzzle("hashcash-sha1", RESOURCE, bits=MAX_BITS, count=16)
ENDLESS_SCRYPT = Puzzle("scrypt", RESOURCE, bits=MAX_BITS, count=16, cost=ScryptCost(64, 8, 1))

needs_fast_engine = pytest.mark.skipif(not has_fast_engine(), reason="calpow[fast] is not installed")
both_hash_engines = pytest.mark.parametrize(
    "engine", [PYTHON, pytest.param(FAST, marks=needs_fast_engine)], ids=lambda engine: engine.name
)
every_way = pytest.mark.parametrize(
    ("puzzle", "engine", "workers"),
    [
        pytest.param(ENDLESS, PYTHON, 1, id="python"),
        pytest.param(ENDLESS, PYTHON, 2, id="python-processes"),
        pytest.param(ENDLESS, FAST, 1, id="fast", marks=needs_fast_engine),
        pytest.param(ENDLESS, FAST, 2, id="fast-threads", marks=needs_fast_engine),
        pytest.param(ENDLESS_SCRYPT, MEMORY_HARD, 1, id="scrypt"),
        pytest.param(ENDLESS_SCRYPT, MEMORY_HARD, 2, id="scrypt-threads"),
    ],
)
every_engine = pytest.mark.parametrize("name", ["PYTHON", pytest.param("FAST", marks=needs_fast_engine), "MEMORY_HARD"])

_PROGRAM = """
from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import {engine}
from calpow.puzzle.solving.solver import run_solver

puzzle = {puzzle!r}
try:
    run_solver(puzzle, {engine}, workers=3, progress=lambda progress: print("started", flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def miner_processes(pid: int | None = None) -> list[psutil.Process]:
    """Return the miners among a process's children; by default of this process, which may have other children too."""
    return [
        child
        for child in psutil.Process(pid).children()
        if "calpow.puzzle.solving.process_miner" in " ".join(child.cmdline())
    ]


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start_program(engine: str, folder: Path) -> "subprocess.Popen[str]":
    """Start a program that solves an endless puzzle with three workers; return once all of them are there."""
    puzzle = ENDLESS_SCRYPT if engine == "MEMORY_HARD" else ENDLESS
    program = folder / "program.py"
    program.write_text(_PROGRAM.format(engine=engine, puzzle=puzzle))
    process = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    wait_until(lambda: len(miner_processes(process.pid)) == (2 if engine == "PYTHON" else 0))
    return process


@dataclass(frozen=True)
class Interruption:
    """The end of a program after Ctrl-C: its output, its seconds, and the miners that it had before."""

    outcome: tuple[str, str, int]
    seconds: float
    miners: list[psutil.Process]


def interrupt(process: "subprocess.Popen[str]") -> Interruption:
    """Press Ctrl-C: like a terminal, send SIGINT to the program and to all of its processes."""
    with process:
        miners = miner_processes(process.pid)
        start = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
        return Interruption((out, err, process.returncode), time.monotonic() - start, miners)
