"""docs/paper.md names every part of the paper, and modules and commands that exist."""

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from benchmarks.attacks.paper_attacks import paper_attacks
from benchmarks.results.__main__ import ALL
from calpow.archiver.cli import COMMANDS as ARCHIVER
from calpow.client.cli import COMMANDS as CLIENT

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "paper.md").read_text()
CODE = [match.replace("\n", " ") for match in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))]


def rows(heading: str) -> list[str]:
    """Return the first cells of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"(?m)^\| ([^|]+?) \|", section)[1:]


def numbers(cells: list[str]) -> set[int]:
    """Return the numbers that cells name: `3`, `5, 6`, `20 to 22`."""
    found: set[int] = set()
    for cell in cells:
        first, last = (int(re.findall(r"\d+", cell)[place]) for place in (0, -1))
        found |= set(range(first, last + 1))
    return found


def calpow_command(name: str) -> click.Command:
    """Return a command of calpow."""
    (target,) = (target for known, target, _ in (*ARCHIVER, *CLIENT) if known == name)
    module, _, attribute = target.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


def test_every_table_and_figure_is_on_the_page() -> None:
    assert numbers(rows("Tables")) == set(range(1, 6))
    assert numbers(rows("Figures")) == set(range(1, 23))


def test_every_section_is_on_the_page() -> None:
    sections = {re.split(r"[ ,:]", cell)[0] for cell in rows("Sections")}
    assert sections >= {
        "3.1",
        "3.2",
        "3.3",
        "4.1",
        "4.2",
        "4.3",
        "4.4",
        "6",
        "A.1",
        "B.2",
        "B.4",
        "B.5",
        "B.6",
        "C",
        "D",
    }


@pytest.mark.parametrize("path", sorted({code for code in CODE if re.fullmatch(r"[\w/]+/(\w+\.py)?", code)}))
def test_every_module_on_the_page_exists(path: str) -> None:
    places = (ROOT / path, ROOT / "handler" / "leakage" / path, ROOT / "benchmarks" / "attacks" / path)
    assert any(place.exists() for place in places)


@pytest.mark.parametrize("command", sorted({code for code in CODE if code.startswith(("calpow ", "python -m "))}))
def test_every_command_on_the_page_exists(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "calpow":
        options = {option for parameter in calpow_command(words[0]).params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
        return
    module = ROOT / words[1].replace(".", "/")
    assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()


def test_every_attack_on_the_page_exists() -> None:
    named = [re.search(r"--attack ([\w -]+?)(?: --|$)", code) for code in CODE]
    attacks = {name for match in named if match for name in match[1].split()}
    assert len(attacks) > 10
    assert attacks <= set(paper_attacks("digits"))


def test_every_exhibit_on_the_page_exists() -> None:
    named = [re.search(r"--only ([\w -]+)", code) for code in CODE]
    exhibits = {name for match in named if match for name in match[1].split()}
    assert exhibits == set(ALL)


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f'\nversion = "{cited["version"]}"\n' in (ROOT / "pyproject.toml").read_text()
    assert cited["references"][0]["title"] in PAGE
