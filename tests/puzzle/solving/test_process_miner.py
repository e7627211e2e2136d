"""Miners in processes of their own: nothing of the caller's program gets into them."""

import subprocess
import sys
from pathlib import Path

import pytest

from calpow.puzzle.errors import MinerDied
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import PYTHON
from calpow.puzzle.solving.process_miner import ProcessMiner
from calpow.puzzle.solving.solver import run_solver

PUZZLE = Puzzle("hashcash-sha1", "5f0c0123456789abcdef0123456789ab", bits=4, count=4)


def test_a_program_without_a_main_guard_is_not_run_twice(tmp_path: Path) -> None:
    here, program = tmp_path / "here", tmp_path / "there" / "program.py"
    here.mkdir()
    program.parent.mkdir()
    program.write_text("""
from calpow.puzzle.solving.engines import PYTHON
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import run_solver

print("imported")
puzzle = Puzzle("hashcash-sha1", "5f0c", 15, 16)
puzzle.verify(run_solver(puzzle, PYTHON, workers=2).stamps)
""")
    (here / "json.py").write_text("open('taken-for-a-module', 'w')")
    completed = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, cwd=here, check=True)
    assert completed.stdout == "imported\n"
    assert [file.name for file in here.iterdir()] == ["json.py"]


def test_a_path_that_holds_more_than_text_is_handed_to_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/nonexistent")])
    PUZZLE.verify(run_solver(PUZZLE, PYTHON, workers=2).stamps)


def test_a_frozen_program_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(MinerDied, match="frozen"):
        ProcessMiner(PUZZLE, "260101000000")
    PUZZLE.verify(run_solver(PUZZLE, PYTHON, workers=2).stamps)
