"""The cases in tests/data, which the Python and the JavaScript tests share."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.puzzle import Puzzle

DATA = Path(__file__).resolve().parents[1] / "data"
CHALLENGES: dict[str, Any] = json.loads((DATA / "challenges.json").read_text(encoding="utf-8"))
STAMPS: dict[str, Any] = json.loads((DATA / "stamps.json").read_text(encoding="utf-8"))
SOLUTIONS: dict[str, Any] = json.loads((DATA / "solutions.json").read_text(encoding="utf-8"))

Case = Mapping[str, Any]


def parameters(cases: Sequence[Case], *values: Callable[[Case], object]) -> list[object]:
    """Return the parameters of a test: for each case these values, named like the case."""
    return [pytest.param(*(value(case) for value in values), id=case["name"]) for case in cases]


def document_of(case: Case) -> Any:
    """Return the challenge document of a case in challenges.json."""
    if "document" in case:
        return case["document"]
    document = {**CHALLENGES["document"], **case.get("changes", {})}
    document.pop(case.get("without"), None)
    return document


def puzzle_of(document: Mapping[str, Any]) -> Puzzle:
    """Return the puzzle of a valid challenge document."""
    cost = ScryptCost(document["n"], document["r"], document["p"]) if document["algorithm"] == "scrypt" else None
    return Puzzle(document["algorithm"], document["id"], document["bits"], document["count"], cost)
