"""`calpow puzzle-cost`: real solvers, measured in a hurry, and figures that mean what they say."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from calpow.client.cli import hardware, paces
from calpow.client.cli import main as cli
from calpow.client.cli import puzzle_cost as cost
from calpow.client.cli.paces import MeasuringFailed
from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.solving.engines import PYTHON, has_fast, usable_cores

# A line of the table: perhaps the puzzle's name, the solver, digests a second, and how many times as many a card makes.
ROW = re.compile(r"^(?P<name>\S.*?)? {2,}(?P<solver>\S.*?) {2,}(?P<rate>[\d.,]+(?: million)?) {2,}(?P<over>\S.*)$")


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("ROUNDS", 1),
        ("TURN_SECONDS", 0.02),
        ("PROCESSES_TURN_SECONDS", 0.05),
        ("PROBE_SECONDS", 0.002),
        ("HASHCASH_BITS", 16),
    ):
        monkeypatch.setattr(paces, name, value)


def number(text: str) -> float:
    millions = text.endswith(" million")
    return float(text.removesuffix(" million").replace(",", "")) * (1e6 if millions else 1)


@pytest.mark.usefixtures("hurry")
def test_every_puzzle_is_measured_with_every_solver_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["puzzle-cost"]) == 0
    printed = capsys.readouterr().out
    rows = [match for match in map(ROW.match, printed.splitlines()[1:]) if match]
    assert [row["name"] for row in rows if row["name"]] == [*PROFILES, "scrypt, n=16384"]
    solvers = [row["solver"] for row in rows[: [row["name"] for row in rows].index("hashcash-sha256")]]
    ways = sorted({1, usable_cores()})
    engines = ["pure Python", *(["calpow[fast]"] if has_fast() else [])]
    expected = [f"{engine}, {n} core{'s' if n > 1 else ''}" for engine in engines for n in ways]
    assert solvers == expected + (["the program hashcash, 1 core"] if shutil.which("hashcash") else [])
    assert "RTX 4090, digests a second: 50,639 million of hashcash-sha1, 21,976 million of hashcash-sha256," in printed
    assert "(hashcat 6.2.6, https://gist.github.com/Chick3nman/" in printed
    verified = dict(re.findall(r"^(\S+) +(?:31|7) +([\d.]+) ms$", printed, re.MULTILINE))
    assert list(verified) == list(PROFILES)
    assert float(verified["hashcash-sha1"]) < float(verified["scrypt"]) < float(verified["scrypt-hard"])
    for row in rows:
        if row["over"].endswith(" times"):
            (figure,) = (each for each in hardware.FIGURES if _is_of(each, rows, row))
            assert number(row["over"].removesuffix(" times")) == pytest.approx(
                figure.digests_per_second / number(row["rate"]), rel=0.06
            )


def _is_of(figure: hardware.Figure, rows: list[re.Match[str]], row: re.Match[str]) -> bool:
    """Whether a row stands below the name that the figure is of."""
    names = [each["name"] for each in rows[: rows.index(row) + 1] if each["name"]]
    return names[-1].partition(",")[0] == figure.algorithm


def test_what_nobody_has_published_is_not_made_up() -> None:
    for name in ("scrypt", "scrypt-hard"):
        assert hardware.figure_of(PROFILES[name].kind.puzzle(64, "size")) is None
    published = replace(PROFILES["scrypt"].kind.puzzle(64, "size"), cost=ScryptCost(16384, 8, 1))
    figure = hardware.figure_of(published)
    assert figure is not None
    assert figure.digests_per_second == 7126


@pytest.mark.usefixtures("hurry")
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cost, "has_fast", lambda: False)
    monkeypatch.setattr(paces, "engines_of", lambda algorithm: (PYTHON,) if algorithm != "scrypt" else ())
    monkeypatch.setenv("PATH", "")
    assert cli.main(["puzzle-cost"]) == 0
    printed = capsys.readouterr().out
    assert "calpow[fast] is not installed: pip install 'calpow[fast]'" in printed
    assert "the program hashcash is not installed: apt install hashcash" in printed


def test_a_program_of_that_name_that_mints_nothing_is_named() -> None:
    with pytest.raises(MeasuringFailed, match=r"\A/bin/true does not say how many tries it made.*\Z"):
        paces._hashcash_rate("/bin/true")


@pytest.mark.skipif(shutil.which("hashcash") is None, reason="the program hashcash is not installed")
def test_the_program_hashcash_is_measured_by_the_tries_it_tells_of() -> None:
    program = shutil.which("hashcash") or ""
    said = int(subprocess.run([program, "-sq"], capture_output=True, check=True).stdout)
    assert paces._hashcash_rate(program) == pytest.approx(said, rel=0.75)


def test_the_command_needs_nothing_of_the_owners() -> None:
    blocked = "import sys\nfor name in ('torch', 'numpy', 'ts'): sys.modules[name] = None\n"
    program = f"{blocked}import calpow.client.cli.puzzle_cost"
    subprocess.run([sys.executable, "-c", program], check=True)
