"""docs/evidence.md quotes what the pages say that it links, and its charts show what the tables have today."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.pictures.evidence_charts import (
    ATTACKS,
    DOCS,
    PICTURES,
    SHOWN,
    USERS,
    attack_floors,
    dearest_last,
    draw_attacks,
    draw_users,
    save,
    user_floors,
)
from benchmarks.pictures.markdown_tables import anchor, number, numbers, sections, tables

PAGE = (DOCS / "evidence.md").read_text()
LINK = re.compile(r"\[[^\]]*\]\(([^)#]*)(?:#([^)]*))?\)")


def blocks() -> Iterator[str]:
    """Yield the paragraphs and the items of lists."""
    for paragraph in re.split(r"\n\n|\n(?=- )", PAGE):
        yield " ".join(paragraph.split())


def quoted(block: str) -> list[str]:
    """Return the numbers that a block states, without those of links, pictures and commands."""
    return numbers(re.sub(r"`[^`]*`", "", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"", block)))


def sources(block: str) -> Iterator[str]:
    """Yield the sections, or the pages, that a block links."""
    for path, fragment in LINK.findall(block):
        if path.endswith(".md"):
            page = (DOCS / path).read_text()
            yield sections(page)[fragment] if fragment else page


def states(source: str, figure: str) -> bool:
    """Return whether a source has a number, or one that is rounded to it."""
    places = len(figure.partition(".")[2])
    return any(round(float(found), places) == float(figure) for found in numbers(source))


@pytest.mark.parametrize("block", [block for block in blocks() if quoted(block)])
def test_every_number_stands_on_a_page_that_is_linked_beside_it(block: str) -> None:
    pages = list(sources(block))
    assert [figure for figure in quoted(block) if not any(states(page, figure) for page in pages)] == []


def test_the_page_quotes_what_is_checked() -> None:
    assert sum(len(quoted(block)) for block in blocks()) > 40
    assert not states("| 8.98 | 42.1 |", "8.97")
    assert states("| 8.98 | **1,574** (edges) |", "9.0")
    assert states("| 8.98 | **1,574** (edges) |", "1574")


@pytest.mark.parametrize(("path", "fragment"), sorted(set(LINK.findall(PAGE))))
def test_every_link_leads_somewhere(path: str, fragment: str) -> None:
    target = (DOCS / path).resolve()
    assert target.is_file()
    assert not fragment or fragment in sections(target.read_text())


@pytest.mark.parametrize("name", [ATTACKS, USERS])
def test_the_charts_show_what_the_tables_have(name: str) -> None:
    floors = {
        ATTACKS: attack_floors((DOCS / "attacks.md").read_text()),
        USERS: user_floors((DOCS / "measured.md").read_text()),
    }
    with Image.open(PICTURES / name) as picture:
        shown = json.loads(picture.info[SHOWN])
    assert shown == floors[name], "draw the charts again: python -m benchmarks.pictures.evidence_charts"


def test_a_chart_holds_its_numbers(tmp_path: Path) -> None:
    users = {"digits": {"honest": 1.0, "new": 3.0, "theft": 10.0, "alone": 100.0}}
    save(tmp_path / "users.png", users, lambda figure: draw_users(figure, users))
    with Image.open(tmp_path / "users.png") as picture:
        assert json.loads(picture.info[SHOWN]) == users


def test_the_last_row_of_an_attack_counts() -> None:
    page = """
# Attacks
## digits
| attack | answers | floors an answer | under paper |
|---|---|---|---|
| CopyCat | 300 | 20 | 1.5 |
| CopyCat | 1,000 | **2,895** (2,800 to 2,900) | 4.99 |
| InOut | 1,000 | 30.5 | 3.54 |
"""
    floors = attack_floors(page)
    assert list(floors) == ["digits"]
    assert floors["digits"]["CopyCat"] == {"floors an answer": 2895.0, "under paper": 4.99}
    assert list(floors["digits"]) == ["CopyCat", "InOut"]


def test_attacks_are_drawn_in_the_order_of_their_prices(tmp_path: Path) -> None:
    def paid(ours: float) -> dict[str, float]:
        return {"floors an answer": ours, "under paper": 1.0}

    floors = {
        "digits": {"EAT": paid(2000), "honest user, 99th percentile": paid(3), "Standard": paid(1)},
        "mnist": {"EAT": paid(2000), "InOut": paid(1000), "Standard": paid(1)},
        "fashion": {"Standard": paid(2)},
    }
    assert dearest_last(floors) == ["honest user, 99th percentile", "Standard", "InOut", "EAT"]
    save(tmp_path / "attacks.png", floors, lambda figure: draw_attacks(figure, floors))
    assert (tmp_path / "attacks.png").stat().st_size > 0


def test_sections_tables_and_numbers_of_a_page() -> None:
    page = "# One\n\na\n\n## Two `x`, y\n\n| a | b |\n|---|---:|\n| **c** | 1,234.5 |\n\n# Three\n\nb\n"
    assert list(sections(page)) == ["one", "two-x-y", "three"]
    assert sections(page)["three"].strip() == "b"
    assert list(tables(page)) == [[{"a": "c", "b": "1,234.5"}]]
    assert number("**1,234.5** (2)") == 1234.5
    assert anchor("What gets through, and what it is worth") == "what-gets-through-and-what-it-is-worth"
