"""`make results` makes the paper's tables and figures again, says where they come from, and names what is missing."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.results.exhibit import Exhibit, Findings, Setting, table, write
from benchmarks.results.origin import Origin
from benchmarks.results.recorded_attacks import TABLE_2, figure_8, table_2

ROOT = Path(__file__).resolve().parents[3]
TRACES = os.environ.get("CALPOW_TRACES")
with_traces = pytest.mark.skipif(TRACES is None, reason="CALPOW_TRACES does not name the folder of the paper's traces")


def make(folder: Path, *options: str, traces: str | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks.results", "--quick", "--output", str(folder), *options]
    environment = {name: value for name, value in os.environ.items() if name != "CALPOW_TRACES"}
    if traces:
        environment["CALPOW_TRACES"] = traces
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


@with_traces
def test_table_2_is_the_papers() -> None:
    rows = table_2(Setting(Path(str(TRACES)), quick=False, attacks=Path())).rows
    assert len(rows) == sum(map(len, TABLE_2.values())) == 14
    assert all(abs(float(str(row[-1]))) < 0.5 for row in rows)


@with_traces
def test_figure_8_moves_thieves_and_not_users() -> None:
    rows = figure_8(Setting(Path(str(TRACES)), quick=False, attacks=Path())).rows
    last = {(row[0], row[1]): float(str(row[-1])) / float(str(row[-2])) for row in rows}
    for dataset in ("mnist", "svhn"):
        assert last[dataset, "standard"] < 2
        assert last[dataset, "copycat"] > 30


@pytest.mark.slow
def test_a_page_has_its_numbers_its_picture_and_its_origin(tmp_path: Path) -> None:
    done = make(tmp_path, "--only", "figure-2")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "figure-2.md").read_text()
    assert "Made by `python -m benchmarks.results --only figure-2 --quick` at commit " in page
    assert "(figure-2.png)" in page
    assert (tmp_path / "figure-2.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "figure-2.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Sixteen times the digests take some sixteen times as long; three runs spread much.
    means = {int(row["bits"]): float(row["mean_seconds"]) for row in rows if row["solver"] == "python"}
    assert means[18] > means[10]
    assert "[Figure 2: binary HashCash, time by bits](figure-2.md)" in (tmp_path / "README.md").read_text()
    assert list(json.loads((tmp_path / "origins.json").read_text())) == ["figure-2"]


@pytest.mark.slow
def test_an_exhibit_without_its_data_is_named_and_the_others_are_made(tmp_path: Path) -> None:
    done = make(tmp_path, "--only", "table-2", "figure-2")
    assert done.returncode == 1
    assert done.stderr.count("missing in table-2: the paper's recorded attacks: give their folder as --traces") == 1
    assert (tmp_path / "figure-2.md").is_file()
    assert not (tmp_path / "table-2.md").exists()


def test_an_exhibit_without_a_picture_has_a_page_and_numbers(tmp_path: Path) -> None:
    findings = Findings(["Some text.", "", *table(("a", "b"), [("x", 1)])], ("a", "b"), [("x", 1)])
    exhibit = Exhibit("table-9", "Table 9: nothing", lambda _: findings)
    write(exhibit, findings, Origin("make results", "abc", "2026-01-01", 1.4), tmp_path)
    assert (tmp_path / "table-9.csv").read_text() == "a,b\nx,1\n"
    assert (tmp_path / "table-9.md").read_text().splitlines()[0] == "# Table 9: nothing"
    assert not list(tmp_path.glob("*.png"))
