"""Origin of results: the command, the commit, the day and the time."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Origin:
    """Origin of findings: the command, the commit, the day and the seconds that it took."""

    command: str
    commit: str
    day: str
    seconds: float

    @property
    def line(self) -> str:
        """A sentence for the foot of a page."""
        return f"Made by `{self.command}` at commit {self.commit} on {self.day}, in {self.seconds:.0f} s."


def checked_out() -> str:
    """Return the abbreviated hash of the checked-out commit, with a plus sign where files differ from it.

    Results, which commands write, may differ.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/results")
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + ("+" if changed else "")
