"""`calpow puzzle-cost` measures every solver, here in short runs, and prints true figures."""

import re
import shutil

import pytest

from calpow.client.cli import puzzle_cost, solver_speed
from calpow.client.cli.gpu_speeds import GPU_SPEEDS, GpuSpeed
from calpow.client.cli.main import main
from calpow.puzzle.installation import install_command
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.solving.engines import PYTHON, has_fast_engine, usable_cores

# A row of the table: the puzzle's name if it is the first of its kind, the solver, digests a second, and how many times
# as many a graphics card computes.
ROW = re.compile(r"^(?P<name>\S.*?)? {2,}(?P<solver>\S.*?) {2,}(?P<rate>[\d.,]+(?: million)?) {2,}(?P<ratio>\S.*)$")


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver_speed, "ROUNDS", 1)
    monkeypatch.setattr(solver_speed, "RUN_SECONDS", 0.02)
    monkeypatch.setattr(solver_speed, "PROCESSES_RUN_SECONDS", 0.05)
    monkeypatch.setattr(solver_speed, "PROBE_SECONDS", 0.002)
    monkeypatch.setattr(solver_speed, "HASHCASH_BITS", 16)
    monkeypatch.setattr(solver_speed, "STAMPS", 2)
    monkeypatch.setattr(solver_speed, "VERIFICATIONS", 1)


def number(text: str) -> float:
    millions = text.endswith(" million")
    return float(text.removesuffix(" million").replace(",", "")) * (1e6 if millions else 1)


def gpu_speed_beside(row: re.Match[str], rows: list[re.Match[str]]) -> GpuSpeed:
    """Return the published speed for the kind of puzzle that a row is about."""
    names = [above["name"] for above in rows[: rows.index(row) + 1] if above["name"]]
    (speed,) = (speed for speed in GPU_SPEEDS if speed.algorithm == names[-1].partition(",")[0])
    return speed


@pytest.mark.slow
def test_every_puzzle_is_measured_with_every_solver_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["puzzle-cost"]) == 0
    printed = capsys.readouterr().out
    rows = [match for match in map(ROW.match, printed.splitlines()[1:]) if match]
    assert [row["name"] for row in rows if row["name"]] == [*PROFILES, "scrypt, n=16384"]
    solvers = [row["solver"] for row in rows[: [row["name"] for row in rows].index("hashcash-sha256")]]
    cores = sorted({1, usable_cores()})
    engines = ["pure Python", *(["calpow[fast]"] if has_fast_engine() else [])]
    expected = [f"{engine}, {n} core{'s' if n > 1 else ''}" for engine in engines for n in cores]
    assert solvers == expected + (["the program hashcash, 1 core"] if shutil.which("hashcash") else [])
    for row in rows:
        if row["ratio"].endswith(" times"):
            published = gpu_speed_beside(row, rows).digests_per_second
            assert number(row["ratio"].removesuffix(" times")) == pytest.approx(
                published / number(row["rate"]), rel=0.06
            )
    assert "RTX 4090, digests a second: 50,639 million of hashcash-sha1, 21,976 million of hashcash-sha256," in printed
    assert "(hashcat 6.2.6, https://gist.github.com/Chick3nman/" in printed
    verified = dict(re.findall(r"^(\S+) +(?:31|7) +([\d.,]+) ms$", printed, re.MULTILINE))
    assert list(verified) == list(PROFILES)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(puzzle_cost, "has_fast_engine", lambda: False)
    monkeypatch.setattr(solver_speed, "engines_for", lambda algorithm: (PYTHON,) if algorithm != "scrypt" else ())
    monkeypatch.setenv("PATH", "")
    assert main(["puzzle-cost"]) == 0
    printed = capsys.readouterr().out
    assert f"calpow[fast] is not installed, or does not work here: {install_command('fast')}" in printed
    assert "the program hashcash is not installed: apt install hashcash" in printed
