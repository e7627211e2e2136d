"""Parts of the output that commands share: the size of a file, and the next commands to paste."""

import shlex
from pathlib import Path


def file_size(path: Path) -> str:
    """Return the size of a file in kB or MB."""
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 0.1):.1f} kB"


def next_commands(introduction: str, *commands: list[str]) -> str:
    """Return an introduction and below it commands to paste; the reader replaces words in capitals."""
    return "\n".join([introduction, *(f"  {shlex.join(command)}" for command in commands)])
