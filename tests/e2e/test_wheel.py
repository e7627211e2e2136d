"""The wheel: what is in it, and that it installs and serves from an environment that has nothing else of ours."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from calpow.puzzle.puzzle import Puzzle
from tests.support.calibrations import calibration
from tests.support.guarded import Protected

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("puzzle", "handler", "archiver", "client")
BROWSER_MODULES = {
    f"{name}.js"
    for name in ("calpow", "challenge", "errors", "mint", "minter", "prepaid", "solver", "vectors", "worker", "workers")
}
REPORT_FILES = {"report.css", "report.html.j2"}
# The group keeps the tests on one process, so that the wheel is built once.
pytestmark = pytest.mark.xdist_group("wheel")

# Protects a victim, serves it and pays for an answer; run with the wheel as the only Calpow there is.
OWNER = """
import sys
from pathlib import Path

import requests

import calpow.archiver
from calpow.archiver.server import served
from calpow.client import PowAuth
from calpow.client.cli.main import main
from calpow.handler.ledger.uri import open_ledger

victim, teachers, calibration, folder = map(Path, sys.argv[1:])
parts = ["--victim", victim, "--ensemble", teachers, "--calibration", calibration]
assert main([str(word) for word in ("archive", *parts, "--export-path", folder, "--model-name", "vector")]) == 0
uri = f"sqlite:///{folder / 'ledger.db'}"
with served({"vector": folder / "vector.mar"}, environment={"CALPOW_LEDGER": uri}) as server:
    auth = PowAuth(open_ledger(uri).add_key("ada"))
    answer = requests.post(server.url("vector"), data=b"0.1,0.9,0.3,0.2", auth=auth, timeout=30)
print(calpow.archiver.__file__)
print(answer.status_code, answer.json())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `python -m build` makes of a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, folder)
    command = [sys.executable, "-m", "build", "--wheel", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (built,) = (folder / "dist").glob("calpow-*-py3-none-any.whl")
    return built


def environment(folder: Path, *install: str) -> Path:
    """Make a virtual environment and install into it; returns its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    programs = folder / "bin"
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *install], check=True, timeout=300)
    return programs


def output_of(*command: str | Path) -> str:
    """Run a program where no package of ours is found by chance; returns what it prints."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd="/", env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_has_our_modules_their_types_and_the_browsers_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {f"calpow/{path.relative_to(ROOT)}" for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    typed = {f"calpow/{room}/py.typed" for room in ROOMS}
    browser = {f"calpow/client/js/{name}" for name in BROWSER_MODULES}
    report = {f"calpow/archiver/report/{name}" for name in REPORT_FILES}
    assert files == modules | typed | browser | report


@pytest.mark.slow
def test_the_client_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "empty", str(wheel))
    calpow = programs / "calpow"
    assert "predict" in output_of(calpow, "--help")
    installed = output_of(programs / "python", "-m", "pip", "list", "--disable-pip-version-check").lower()
    assert "torch" not in installed
    assert "numpy" not in installed
    challenge = tmp_path / "challenge.json"
    challenge.write_text(
        '{"challenge": {"token": "e30.e30.c2ln", "id": "5f0c", "algorithm": "hashcash-sha1", "bits": 4, "count": 16,'
        ' "expires": "2999-01-15T12:05:00Z", "expected_hashes": 256}}'
    )
    header, token, *stamps = output_of(calpow, "solve", challenge).split()
    assert (header, token) == ("PoW-Solution:", "e30.e30.c2ln")
    Puzzle("hashcash-sha1", "5f0c", 4, 16).verify(stamps)


@pytest.mark.long
def test_report_simulate_and_keys_need_the_extra_report_and_no_torch(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "report", f"{wheel}[report]")
    calpow = programs / "calpow"
    installed = output_of(programs / "python", "-m", "pip", "list", "--disable-pip-version-check").lower()
    assert "torch" not in installed
    saved, page = tmp_path / "calibration.json", tmp_path / "report.html"
    calibration().save(saved)
    output_of(calpow, "report", saved, "-o", page)
    assert "Do not deploy" in page.read_text() or "Look closer" in page.read_text()
    baseline, trace = tmp_path / "legitimate.csv", tmp_path / "attacks.csv"
    baseline.write_text("queries,privacy\n1000,250\n2000,505\n")
    trace.write_text("mode,time (sec),accuracy,diff queries,privacy cost\nthief,0.2,10,0,0\nthief,7.4,61,16,530\n")
    assert "thief" in output_of(calpow, "simulate", "--baseline", baseline, "--trace", trace)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    assert output_of(calpow, "keys", "add", "ada", "--ledger", ledger).startswith("cp_")


@pytest.mark.server
@pytest.mark.training
def test_an_owner_with_nothing_but_the_wheel_and_its_requirements_protects_and_serves_a_model(
    wheel: Path, protected: Mapping[str, Protected], tmp_path: Path
) -> None:
    # The requirements are those of this environment: its folder of packages, but not the links to our sources in it.
    programs = environment(tmp_path / "owner", "--no-deps", str(wheel))
    (packages,) = (tmp_path / "owner").glob("lib/python*/site-packages")
    (packages / "requirements.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    part = protected["vector"]
    archives = (part.victim, part.teachers, part.calibration)
    module, answer = output_of(programs / "python", script, *archives, tmp_path).splitlines()[-2:]
    assert Path(module).is_relative_to(packages)
    assert answer == "200 {'class': 1, 'explained': False}"
