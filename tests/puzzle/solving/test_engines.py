"""The choice of an engine: machine code where it pays, and Python wherever there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import FAST, PYTHON, EngineSelector, engines_for
from tests.support.solving import RESOURCE, needs_fast_engine


def test_an_engine_is_selected_for_every_profile() -> None:
    selector = EngineSelector()
    for profile in PROFILES.values():
        assert selector.select(profile.kind.puzzle(100, RESOURCE)) in engines_for(profile.kind.algorithm)


def test_small_puzzles_stay_in_this_process_on_one_core() -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=10, count=18)
    assert [engine.workers(puzzle) for engine in (PYTHON, FAST)] == [1, 1]


@needs_fast_engine
def test_many_small_puzzles_add_up_to_one_that_pays() -> None:
    selector, small = EngineSelector(), Puzzle("hashcash-sha1", RESOURCE, bits=10, count=16)
    selected = [selector.select(small) for _ in range(200)]
    assert selected[0] is PYTHON
    assert selected[-1] is FAST


@needs_fast_engine
def test_the_compiler_is_loaded_once_it_pays_and_not_before() -> None:
    program = """
import sys
from calpow.puzzle.solving.engines import FAST, PYTHON, select_engine
from calpow.puzzle.puzzle import Puzzle

assert select_engine(Puzzle("hashcash-sha1", "5f0c", 10, 16)) is PYTHON
assert "llvmlite" not in sys.modules
assert select_engine(Puzzle("hashcash-sha1", "5f0c", 20, 16)) is FAST
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.slow
@needs_fast_engine
def test_the_time_of_compiling_does_not_count_against_the_limit() -> None:
    program = """
import time
from calpow.puzzle.solving import simd_kernels
from calpow.puzzle.solving.engines import FAST
from calpow.puzzle.solving.solver import run_solver
from calpow.puzzle.puzzle import Puzzle

load_kernel = simd_kernels.load_kernel

def load_slowly(algorithm):
    time.sleep(1)
    return load_kernel(algorithm)

simd_kernels.load_kernel = load_slowly
puzzle = Puzzle("hashcash-sha1", "5f0c", 10, 16)
run = run_solver(puzzle, FAST, max_seconds=0.9, workers=1)
puzzle.verify(run.stamps)
assert run.seconds < 0.9
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@needs_fast_engine
def test_threads_that_start_together_compile_once() -> None:
    program = """
from concurrent.futures import ThreadPoolExecutor
import llvmlite.binding
from calpow.puzzle.solving.engines import FAST
from calpow.puzzle.puzzle import Puzzle

create, created = llvmlite.binding.create_mcjit_compiler, []
llvmlite.binding.create_mcjit_compiler = lambda *arguments: created.append(1) or create(*arguments)
with ThreadPoolExecutor(4) as threads:
    list(threads.map(lambda _: FAST.create_miner(Puzzle("hashcash-sha1", "5f0c", 10, 16), "260115"), range(4)))
assert len(created) == 2  # `absorb` and `search`
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.slow
@needs_fast_engine
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_child_of_a_fork_while_a_thread_compiles_can_solve_too() -> None:
    program = """
import os, threading, time
import llvmlite.binding
from calpow.puzzle.solving.engines import FAST, has_fast_engine
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import run_solver

create, compiling, compiled = llvmlite.binding.create_mcjit_compiler, threading.Event(), []

def create_slowly(*arguments):
    compiling.set()
    time.sleep(0.2)
    compiled.append(1)
    return create(*arguments)

llvmlite.binding.create_mcjit_compiler = create_slowly
thread = threading.Thread(target=has_fast_engine)
thread.start()
compiling.wait()
child = os.fork()
assert len(compiled) == 2  # `absorb` and `search`: it has waited
puzzle = Puzzle("hashcash-sha256", "5f0c", 10, 16)
puzzle.verify(run_solver(puzzle, FAST).stamps)
if child == 0:
    os._exit(0)
thread.join()
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_without_the_extra_everything_is_solved_in_python() -> None:
    program = """
import sys
sys.modules["llvmlite"] = None
from calpow.puzzle.solving.engines import PYTHON, select_engine
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve

assert select_engine(Puzzle("hashcash-sha1", "5f0c", 18, 16)) is PYTHON
puzzle = Puzzle("hashcash-sha1", "5f0c", 12, 16)
puzzle.verify(solve(puzzle))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@needs_fast_engine
def test_where_no_machine_code_can_be_made_everything_is_solved_in_python() -> None:
    program = """
import llvmlite.binding
from calpow.puzzle.solving.engines import PYTHON, select_engine
from calpow.puzzle.puzzle import Puzzle

def refuse(*arguments):
    raise RuntimeError("no executable memory")

llvmlite.binding.create_mcjit_compiler = refuse
assert select_engine(Puzzle("hashcash-sha256", "5f0c", 20, 16)) is PYTHON
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("failure", ["AttributeError", "OSError"])
def test_a_broken_llvmlite_is_warned_of_once_and_everything_is_solved_in_python(failure: str, tmp_path: Path) -> None:
    (tmp_path / "llvmlite").mkdir()
    (tmp_path / "llvmlite" / "__init__.py").write_text(f"raise {failure}('no libLLVM')")
    program = """
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import PYTHON, engines_for, select_engine

assert select_engine(Puzzle("hashcash-sha1", "5f0c", 18, 16)) is PYTHON
assert engines_for("hashcash-sha1") == (PYTHON,)
"""
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr.count(f"llvmlite does not work here ({failure}: no libLLVM)") == 1
