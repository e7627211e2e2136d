"""`calpow ledger`: every help ends with an example that works when it is pasted."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from calpow.archiver.cli.ledger import ledger

COMMANDS = [(), *((name,) for name in sorted(ledger.commands))]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_example_of_a_help_works_when_it_is_pasted(command: tuple[str, ...], tmp_path: Path) -> None:
    help_text = CliRunner().invoke(ledger, [*command, "--help"]).stdout
    _, _, example = help_text.partition("Example")
    lines = [line.strip() for line in example.splitlines() if line.startswith("    ")]
    assert lines, help_text
    script = "\n".join(re.sub(r"^calpow", f"{sys.executable} -m calpow.client", line) for line in lines)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
