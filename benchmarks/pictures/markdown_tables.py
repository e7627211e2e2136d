"""Sections and tables of the documentation, for what is made of them or compared with them."""

import re
from collections.abc import Iterator, Mapping, Sequence

_HEADING = re.compile(r"(?m)^(#+) (.+)$")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_RULE = re.compile(r"[ :|-]+")


def sections(page: str) -> dict[str, str]:
    """Return the text below each heading, those below it included, by the anchor that GitHub gives it."""
    headings = list(_HEADING.finditer(page))
    found: dict[str, str] = {}
    for place, heading in enumerate(headings):
        ends = [later.start() for later in headings[place + 1 :] if len(later[1]) <= len(heading[1])]
        found[anchor(heading[2])] = page[heading.end() : ends[0] if ends else len(page)]
    return found


def anchor(heading: str) -> str:
    """Return the anchor of a heading: lower case, hyphens for spaces, no other signs."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def tables(text: str) -> Iterator[Sequence[Mapping[str, str]]]:
    """Yield the rows of each table of a text, by the names of their columns; a cell's emphasis is left out."""
    for block in re.findall(r"(?m)(?:^\|.*\|$\n?)+", text):
        header, rule, *rows = [_cells(line) for line in block.strip().splitlines()]
        if all(_RULE.fullmatch(cell) for cell in rule):
            yield [dict(zip(header, row, strict=True)) for row in rows]


def numbers(text: str) -> list[str]:
    """Return the numbers in a text, as they are written, without the commas of thousands."""
    return [found.rstrip(",").replace(",", "") for found in _NUMBER.findall(text)]


def number(cell: str) -> float:
    """Return the first number of a cell."""
    return float(numbers(cell)[0])


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("*") for cell in line.strip().strip("|").split("|")]
