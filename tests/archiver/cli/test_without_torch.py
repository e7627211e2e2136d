"""The commands that need no torch, in a process that cannot import it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.calibrations import calibration

# What `calpow[report]` does not bring.
MISSING = ("torch", "torchvision", "scipy", "sklearn", "ts", "model_archiver", "PIL", "psutil", "yaml")
COMMAND = f"""
import sys
sys.modules.update(dict.fromkeys({MISSING!r}))
from calpow.client.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
BASELINE = "queries,privacy\n1000,250\n2000,505\n"
TRACE = "mode,time (sec),accuracy,diff queries,privacy cost\nthief,0.2,10,0,0\nthief,7.4,61,16,530\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    calibration().save(tmp_path / "calibration.json")
    (tmp_path / "legitimate.csv").write_text(BASELINE)
    (tmp_path / "attacks.csv").write_text(TRACE)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["report", "calibration.json"], "report.html: open it in a browser"),
        (["simulate", "--baseline", "legitimate.csv", "--trace", "attacks.csv"], "thief"),
        (["keys", "add", "ada"], "cp_"),
    ],
)
def test_the_command_runs_without_torch(folder: Path, words: list[str], output: str) -> None:
    environment = {**os.environ, "CALPOW_LEDGER": "sqlite:///ledger.db"}
    command = [sys.executable, "-c", COMMAND, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert output in done.stdout


@pytest.mark.parametrize(("command", "package"), [("report", "jinja2"), ("simulate", "numpy")])
def test_a_missing_package_is_named_with_the_smallest_extra_that_brings_it(
    folder: Path, command: str, package: str
) -> None:
    script = COMMAND.replace("sys.modules.update(", f"sys.modules[{package!r}] = None; sys.modules.update(")
    words = {
        "report": ["calibration.json"],
        "simulate": ["--baseline", "legitimate.csv", "--trace", "attacks.csv"],
    }[command]
    done = subprocess.run(
        [sys.executable, "-c", script, command, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"this command needs {package}: pip install " in done.stderr
    assert "[report]" in done.stderr
