"""The lines of the README and the docs work when they are pasted, against a protected server."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from calpow.client.cli.main import main
from calpow.puzzle.wire import Challenge
from tests.support.guarded import Site

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
URL = "http://127.0.0.1:8080/predictions/digits"
PAYLOAD = "0.1,0.9,0.3,0.2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the lines are pasted: `digit.png` is there, and `calpow` is on the path."""
    (tmp_path / "digit.png").write_text(PAYLOAD)
    program = tmp_path / "bin" / "calpow"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m calpow.client "$@"\n')
    program.chmod(0o755)
    return tmp_path


def paste(lines: str, site: Site, folder: Path, key: str) -> str:
    """Run lines in a shell as the README has them, but for the address and the key; what they print."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e"],
        input=lines.replace(URL, site.server.url("vector")).replace("cp_...", key),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": path, "CALPOW_KEY": key},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def indented(first: str) -> str:
    """The README's indented block that begins with this line."""
    lines = re.search(rf"(?m)^    {re.escape(first)}(?:.*\n(?:    .*\n)*)", README)
    assert lines, first
    return "\n".join(line[4:] for line in lines[0].splitlines()) + "\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_lines_work_when_pasted(site: Site, folder: Path) -> None:
    assert '"class": 1' in paste(indented("curl -s"), site, folder, site.key("readme-curl"))


def test_the_command_line_works_when_pasted(site: Site, folder: Path) -> None:
    assert '"class": 1' in paste(indented("export CALPOW_KEY"), site, folder, site.key("readme-cli"))
    (line,) = (folder / "answers.jsonl").read_text().splitlines()
    assert json.loads(line) == {"file": "digit.png", "status": 200, "answer": {"class": 1, "explained": False}}


@pytest.mark.parametrize(
    ("document", "library"), [("README.md", "requests"), ("README.md", "httpx"), ("docs/consuming.md", "asyncio")]
)
def test_the_python_lines_work_when_pasted(document: str, library: str, site: Site, folder: Path) -> None:
    blocks: list[str] = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    (block,) = (block for block in blocks if f"import {library}" in block and "import grpc" not in block)
    key = site.key(f"readme-{library}")
    program = block.replace(URL, site.server.url("vector")).replace("cp_...", key)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        check=True,
    )
    assert done.stdout == "{'class': 1, 'explained': False}\n"


@pytest.mark.skipif(shutil.which("hashcash") is None, reason="Debian's hashcash is not installed")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_debians_hashcash_and_curl_are_client_enough(site: Site, folder: Path) -> None:
    key = site.key("readme-hashcash")
    challenge = Challenge.from_problem(site.raw("vector", PAYLOAD.encode(), key).content)
    puzzle = challenge.puzzle
    mint = f"hashcash -mqC -b {puzzle.bits} -r {puzzle.resource} -x"
    lines = f"""
solution="{challenge.token}"
for i in $(seq 0 {puzzle.count - 1}); do solution="$solution $({mint} $i)"; done
curl -s -m 20 -H "X-Api-Key: $CALPOW_KEY" -H "PoW-Solution: $solution" -T digit.png {URL}
"""
    assert '"class": 1' in paste(lines, site, folder, key)


def test_the_links_of_the_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_headings_that_the_documents_refer_to_are_there() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    anchors = {path: {anchor(heading) for heading in headings(path)} for path in documents}
    for document in documents:
        for target, name in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text()):
            path = (document.parent / target).resolve() if target else document
            assert name in anchors[path], f"{document.name}: {target}#{name}"


def headings(document: Path) -> list[str]:
    """Return the headings of a Markdown document."""
    without_code = re.sub(r"(?ms)^```.*?^```$", "", document.read_text())
    return re.findall(r"(?m)^#+ (.+)$", without_code)


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_the_commands_of_an_owner_are_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"(?m)^    calpow (\w+)", README)
    assert commands[:6] == ["check", "teachers", "calibrate", "report", "archive", "keys"]
    for words in re.findall(r"(?m)^    calpow (\w+ .*(?:\\\n.*)?)$", README):
        name, *options = words.replace("\\\n", " ").split()
        assert main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        for option in options:
            assert not option.startswith("--") or option in shown, f"calpow {name} {option}"


def test_the_readme_fits_a_page() -> None:
    assert len(README.splitlines()) <= 125


def test_the_index_of_decisions_is_complete() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for record in folder.glob("0*.md"):
        number, title = re.search(r"(?m)^# (\d{4})\. (.+)$", record.read_text()).groups()  # type: ignore[union-attr]
        assert f"| [{number}]({record.name}) | {title} |" in index


def test_the_files_that_the_documents_name_are_there() -> None:
    named = re.compile(r"`((?:puzzle|handler|archiver|client|tests|benchmarks)/[\w/.-]*)`")
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for path in named.findall(document.read_text()):
            assert (ROOT / path).exists(), f"{document.name}: {path}"
