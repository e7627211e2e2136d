"""A miner in a process of its own, with which pure Python uses all cores.

The process is started afresh. A fork would copy locks that threads of the parent hold, and `multiprocessing` would
import the caller's main program again. This module is also the program of the process: it reads one line per slice
from standard input and writes one line with the result to standard output, until the input ends, which also happens
when the parent dies. See docs/decisions/0026.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict

from calpow.puzzle.errors import MinerDied
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.miners import PlainMiner, Slice

# Isolated mode, and then the parent's sys.path: no file in the current folder can replace one of our modules.
_PROGRAM = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from calpow.puzzle.solving.process_miner import main
sys.exit(main(sys.argv[2:]))
"""


class ProcessMiner:
    """A PlainMiner in a process of its own. Raises MinerDied if the process cannot be started."""

    def __init__(self, puzzle: Puzzle, date: str) -> None:
        if getattr(sys, "frozen", False):
            raise MinerDied("a frozen program has no Python to run: sys.executable would start the program again")
        # Python itself ignores entries that are not text.
        path = [entry for entry in sys.path if isinstance(entry, str)]
        arguments = [json.dumps(path), json.dumps(asdict(puzzle)), date]
        try:
            self._process = subprocess.Popen(
                [sys.executable or "python3", "-I", "-c", _PROGRAM, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C in a terminal reaches this process too, and its traceback would be printed.
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise MinerDied(f"a miner's process cannot be started: {error}") from error

    def mine(self, ext: int, seconds: float) -> Slice:
        """Let the process mine. Raises MinerDied if it has ended."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        try:
            stdin.write(b"%d %r\n" % (ext, seconds))
            stdin.flush()
            stamp, digests = json.loads(stdout.readline())
        except (OSError, ValueError) as error:
            raise MinerDied("a miner's process has ended") from error
        return Slice(stamp, digests)

    def kill(self) -> None:
        """End the process at once. A thread that waits for its slice gets MinerDied."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close the pipes of a process that was killed."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # the last request may still be in the buffer
                    pipe.close()


def main(arguments: Sequence[str]) -> int:
    """Mine the puzzle of the first argument, dated with the second, slice by slice as the parent requests."""
    puzzle, date = Puzzle(**json.loads(arguments[0])), arguments[1]
    miner = PlainMiner(puzzle, date)
    for line in sys.stdin:
        ext, seconds = line.split()
        result = miner.mine(int(ext), float(seconds))
        print(json.dumps([result.stamp, result.digests]), flush=True)
    return 0
