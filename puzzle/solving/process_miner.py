"""Miners in processes of their own: what lets pure Python use all cores.

They are started afresh, not forked, and not through `multiprocessing`: that would import the caller's main program
again, and a fork copies the locks of threads that do not come along. This module is also the program they run: a line
for each slice on standard input, a line for what was made of it on standard output, until the input ends, as it does
when the parent dies.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict

from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.miners import PlainMiner, Slice


class MinerDied(PuzzleError):
    """A miner's process ended by itself, or could not be started."""


# Isolated, and then on the parent's own path: no file in the current folder can pass for a module of ours.
_PROGRAM = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from calpow.puzzle.solving.process_miner import main
sys.exit(main(sys.argv[2:]))
"""


class ProcessMiner:
    """A PlainMiner in a process of its own. Raises MinerDied when it cannot be started."""

    def __init__(self, puzzle: Puzzle, date: str) -> None:
        if getattr(sys, "frozen", False):
            raise MinerDied("a frozen program has no Python to run: sys.executable would start the program again")
        # What is no text, Python passes over as well.
        path = [entry for entry in sys.path if isinstance(entry, str)]
        arguments = [json.dumps(path), json.dumps(asdict(puzzle)), date]
        try:
            self._process = subprocess.Popen(
                [sys.executable or "python3", "-I", "-c", _PROGRAM, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # An interrupt from the terminal reaches it as well; what it would print of it is nobody's.
                stderr=subprocess.DEVNULL,
            )
        except OSError as problem:
            raise MinerDied(f"a miner's process cannot be started: {problem}") from problem

    def mine(self, ext: int, seconds: float) -> Slice:
        """See Miner. Raises MinerDied."""
        asked, answer = self._process.stdin, self._process.stdout
        assert asked
        assert answer
        try:
            asked.write(b"%d %r\n" % (ext, seconds))
            asked.flush()
            stamp, digests = json.loads(answer.readline())
        except (OSError, ValueError) as problem:
            raise MinerDied("a miner's process has ended") from problem
        return Slice(stamp, digests)

    def kill(self) -> None:
        """End it at once, also while another thread waits for its slice, which then raises MinerDied."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close the pipes of one that was killed."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was asked last may still be on its way
                    pipe.close()


def main(arguments: Sequence[str]) -> int:
    """Mine as the parent asks."""
    puzzle, date = Puzzle(**json.loads(arguments[0])), arguments[1]
    miner = PlainMiner(puzzle, date)
    for line in sys.stdin:
        ext, seconds = line.split()
        made = miner.mine(int(ext), float(seconds))
        print(json.dumps([made.stamp, made.digests]), flush=True)
    return 0
