"""`calpow simulate`: recorded attacks replayed under the paper's rule, and whatever is wrong with a recording."""

import csv
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from calpow.archiver.replay import simulation
from calpow.client.cli.main import main
from calpow.handler.policy.solver_fit import SolverFit

BASELINE = "time,privacy,queries\n7.36,250,1000\n14.72,500,2000\n22.08,750,3000\n"

HEADER = "time (sec),mode,accuracy,diff queries,privacy cost\n"

TRACE = HEADER + "0.2,honest,10,0,0\n7,honest,80,16,250\n14,honest,90,16,500\n0.2,thief,10,0,0\n7,thief,70,16,650\n"

TRACES = os.environ.get("CALPOW_TRACES")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "legitimate.csv").write_text(BASELINE)
    (tmp_path / "attacks.csv").write_text(TRACE)
    return tmp_path


def simulate(*words: str) -> int:
    return main(["simulate", "--policy", "paper", "--baseline", "legitimate.csv", "--trace", "attacks.csv", *words])


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that says what is wrong."""
    assert simulate(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("calpow: ")
    assert err.count("\n") == 1
    return err


def test_the_table_shows_each_attack_before_and_after(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate() == 0
    header, honest, thief = (re.split(r"\s{2,}", line) for line in capsys.readouterr().out.splitlines())
    assert header == ["attack", "queries", "accuracy (%)", "before (s)", "after PoW (s)", "multiple"]
    # On the line: two puzzles of 1 s and the least one. 400 above it: 1.0075^400 = 19.86 s.
    assert honest == ["honest", "2,000", "90.0", "14.0", "16.1", "1.15"]
    assert thief == ["thief", "1,000", "70.0", "7.0", "27.0", "3.85"]


def test_the_rule_of_the_bounds_takes_two_users(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "dearest.csv").write_text(
        BASELINE.replace("250,", "650,").replace("500,", "1300,").replace("750,", "1950,")
    )
    files = ["--baseline", "legitimate.csv", "--upper-baseline", "dearest.csv", "--trace", "attacks.csv"]
    assert main(["simulate", "--policy", "bounds", *files]) == 0
    _, honest, thief = (re.split(r"\s{2,}", line) for line in capsys.readouterr().out.splitlines())
    # Both lie within the band, and pay a second a step.
    assert (honest[4], thief[4]) == ("16.1", "8.1")
    assert "--upper-baseline belong together" in refused(capsys, "--policy", "bounds")


def test_an_attack_is_picked_and_stopped(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--attack", "honest", "--queries", "1999") == 0
    _, honest = capsys.readouterr().out.splitlines()
    assert honest.split()[:2] == ["honest", "1,000"]


def test_an_attack_that_begins_with_more_queries_is_left_out_and_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "attacks.csv").write_text(TRACE + "9,bulk,50,32,500\n")
    assert simulate("--queries", "1000") == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["attack", "honest", "thief"]
    assert err == "Left out: more than 1,000 queries in the first step of bulk.\n"
    assert "larger --queries" in refused(capsys, "--queries", "1000", "--attack", "bulk")


def test_every_step_is_written(folder: Path) -> None:
    assert simulate("--output", "steps.csv") == 0
    with (folder / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["attack"], float(row["queries"]), float(row["cost"])) for row in rows] == [
        ("honest", 0, 0),
        ("honest", 1000, 250),
        ("honest", 2000, 500),
        ("thief", 0, 0),
        ("thief", 1000, 650),
    ]
    assert float(rows[-1]["puzzle_seconds"]) == pytest.approx(1.0075**400, rel=1e-9)
    assert float(rows[-1]["seconds_after"]) == pytest.approx(7 + 0.1 + 1.0075**400, rel=1e-9)
    assert "bits" not in rows[0]


def test_bits_are_those_of_the_fastest_client_on_this_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulation, "measure_solver", lambda client: SolverFit(0.0, 2.0**20))
    assert simulate("--bits", "--output", "steps.csv") == 0
    assert "bits at the end" in capsys.readouterr().out
    with (folder / "steps.csv").open() as file:
        steps = [(float(row["puzzle_seconds"]), float(row["bits"])) for row in csv.DictReader(file)]
    assert len(steps) == 5
    for seconds, bits in steps:
        assert bits == pytest.approx(20 + math.log2(seconds), abs=0.005)


def test_the_bounds_and_the_base_can_be_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--attack", "thief", "--base", "1.01", "--min-seconds", "0.5", "--max-seconds", "40") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[4] == "47.5"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("attacks.csv", None, "'--trace': File 'attacks.csv' does not exist"),
        ("legitimate.csv", None, "'--baseline': File 'legitimate.csv' does not exist"),
        ("attacks.csv", "mode,accuracy\nx,1\n", "no column `time (sec)`, `diff queries`, `privacy cost`"),
        ("legitimate.csv", "queries,cost\n1,2\n", "no column `privacy`"),
        ("attacks.csv", "", "attacks.csv has no column"),
        ("attacks.csv", HEADER, "attacks.csv has no rows"),
        ("legitimate.csv", "queries,privacy\n", "legitimate.csv has no rows"),
        ("attacks.csv", TRACE + "many,thief,80,16,900\n", "attacks.csv, line 7: `time (sec)` must be a number"),
        ("attacks.csv", TRACE + "9,thief,80,16\n", "attacks.csv, line 7: `privacy cost` must be a number, not None"),
        ("attacks.csv", TRACE + "9,thief,nan,16,900\n", "line 7: `accuracy` must be a number, not 'nan'"),
        ("attacks.csv", TRACE + "9,thief,80,-16,900\n", "line 7: `diff queries` must not be less than 0"),
        ("legitimate.csv", "queries,privacy\n1,2\n2,\n", "legitimate.csv, line 3: `privacy` must be a number, not ''"),
        ("legitimate.csv", "queries,privacy\n1,2\n", "at least two rows that differ in `queries`"),
        ("legitimate.csv", "queries,privacy\n5,2\n5,3\n", "at least two rows that differ in `queries`"),
        ("attacks.csv", b"\xff\xfe\x00", "attacks.csv is not a CSV file"),
    ],
)
def test_what_is_wrong_with_a_recording_is_said_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | bytes | None, message: str
) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert message in refused(capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attack", "thieves"], "no attack 'thieves': there are honest, thief"),
        (["--base", "0.9"], "'--base': 0.9 is not in the range 1<=x<inf"),
        (["--base", "nan"], "'--base': nan is not a number"),
        (["--min-seconds", "0"], "'--min-seconds': 0.0 is not in the range 0<x<inf"),
        (["--min-seconds", "5", "--max-seconds", "2"], "from 5 to 2 seconds"),
        (["--max-seconds", "0.5"], "'--max-seconds': 0.5 is not in the range 1<=x<inf"),
        (["--max-seconds", "inf"], "'--max-seconds': inf is not in the range"),
        (["--queries", "-1"], "'--queries': -1.0 is not in the range x>=0"),
        (["--queries", "nan"], "'--queries': nan is not a number"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert message in refused(capsys, *words)


def test_an_output_that_cannot_be_written_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--output", "nowhere/steps.csv") == 2
    assert "nowhere/steps.csv cannot be written" in capsys.readouterr().err


def test_a_spreadsheets_byte_order_mark_and_more_columns_do_no_harm(folder: Path) -> None:
    (folder / "legitimate.csv").write_text("\ufeffqueries,privacy,note\n1000,250,a\n2000,500,b\n", encoding="utf-8")
    assert simulate() == 0


@pytest.mark.slow
def test_the_example_of_the_help_works_when_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--help"]) == 0
    example = re.search(r"Example.*:\n((?:  .*\n)+)", capsys.readouterr().out)
    assert example
    lines = example[1].replace("calpow simulate", f"{sys.executable} -m calpow.client simulate")
    done = subprocess.run(["sh", "-e"], input=lines, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split()[:2] == ["thief", "3,000"]


@pytest.mark.skipif(TRACES is None, reason="CALPOW_TRACES does not name the folder of the paper's traces")
def test_the_papers_table_comes_from_the_command_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert TRACES is not None
    recorded = ["--baseline", f"{TRACES}/legitimate_mnist.csv", "--trace", f"{TRACES}/attacks_mnist.csv"]
    assert main(["simulate", "--policy", "paper", *recorded, "--queries", "10000"]) == 0
    after = {line.split("  ")[0]: line.split()[-2] for line in capsys.readouterr().out.splitlines()}
    assert float(after["standard"]) == pytest.approx(83.9, rel=0.005)
    assert float(after["jacobian"]) == pytest.approx(91.1, rel=0.005)
    assert float(after["adaptiveknockoff"].replace(",", "")) == pytest.approx(21235, rel=0.005)
