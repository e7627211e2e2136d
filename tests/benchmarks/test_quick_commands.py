"""The commands that CI runs on the benchmarks end within minutes: `make results QUICK=1`, and attacks on the digits."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.attacks.thefts.score_files import read_score_costs
from benchmarks.attacks.thefts.theft_files import read_thefts
from benchmarks.range.cache import VARIABLE
from benchmarks.range.image_sets import CIFAR_PACKAGE

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
# Both together, on two busy cores.
MOST_SECONDS = 600


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a module of this Python in the project's folder."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=MOST_SECONDS,
    )


def test_results_are_made_quickly(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run("benchmarks.results", "--quick", "--output", str(tmp_path))
    assert time.monotonic() - began < MOST_SECONDS / 2
    # 1 where data are missing, which are named then.
    assert done.returncode == (1 if "missing in" in done.stderr else 0), done.stderr
    assert all((tmp_path / f"{name}.md").is_file() for name in ("figure-2", "table-5"))
    assert "--quick" in (tmp_path / "figure-2.md").read_text()


@pytest.mark.training
def test_attacks_on_the_digits_are_made_quickly(tmp_path: Path) -> None:
    package = Path("~/.cache/calpow-range").expanduser() / f"{'-'.join(CIFAR_PACKAGE)}.tgz"
    if not package.is_file():
        pytest.skip(f"{package} is not there: python -m benchmarks.range.prepare --only cifar10")
    (tmp_path / package.name).symlink_to(package)
    files = tmp_path / "files"
    began = time.monotonic()
    few = ("--attack", "standard", "inout", "jacobian", "--answers", "100", "200", "--solve", "100000000")
    done = run(
        "benchmarks.attacks", "--domain", "digits", *few, "--costs", "--output", str(files), **{VARIABLE: str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < MOST_SECONDS / 2
    (theft,) = read_thefts(files, "digits")
    assert [copy.answers for copy in theft.of("inout")] == [100, 200]
    assert theft.of("inout")[-1].floors["evidence"] > 100 > theft.of("standard")[-1].floors["evidence"]
    assert read_score_costs(files, "digits")[0].of("inout")
    assert "puzzles of the first answers, solved" in done.stdout
