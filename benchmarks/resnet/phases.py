"""Phases of a command that shows its progress, with the seconds that each takes."""

import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

# What `calpow.archiver.progress` says at the end of a phase.
_END = re.compile(r"^[\w-]+: (?P<phase>.+) took (?P<seconds>[\d.]+) s$")


@dataclass(frozen=True)
class TimedRun:
    """Seconds of a command on the clock, of its own processor time, and on the clock by phase, in their order."""

    seconds: float
    processor: float
    phases: Mapping[str, float]

    def table(self) -> list[str]:
        """Return a line for each phase, one for what is between them, and one for the whole."""
        rows = [*self.phases.items(), ("between the phases", self.seconds - sum(self.phases.values()))]
        lines = [f"  {phase:<32}{seconds:8.1f} s" for phase, seconds in rows]
        return [*lines, f"  {'all':<32}{self.seconds:8.1f} s, {self.processor:.1f} s of processor time"]


def run_timed(command: Sequence[str], environment: Mapping[str, str]) -> TimedRun:
    """Run a command, repeat what it prints, and return its times. Raises SystemExit when it fails."""
    begun = time.monotonic()
    phases: dict[str, float] = {}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        running = psutil.Process(process.pid)
        processor = 0.0
        assert process.stderr is not None
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            processor = max(processor, _processor_seconds(running))
            if end := _END.match(line.rstrip()):
                phases[end["phase"]] = phases.get(end["phase"], 0.0) + float(end["seconds"])
    if process.returncode:
        raise SystemExit(f"{command[0]} {command[1]} failed with exit code {process.returncode}")
    return TimedRun(time.monotonic() - begun, processor, phases)


def _processor_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it has ended
        return 0.0
    return times.user + times.system
