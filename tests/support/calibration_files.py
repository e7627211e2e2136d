"""Calibration files with a change, for tests of what reads them."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import cast

from tests.support.calibrations import calibration

Document = dict[str, object]
Change = Callable[[Document], None]


def save_changed(folder: Path, *changes: Change) -> Path:
    """Write a good calibration's file with changes; its path."""
    path = folder / "calibration.json"
    calibration(provenance={"samples": 450, "mean_cost": 1.7, "machine": "here"}).save(path)
    document = json.loads(path.read_text())
    for change in changes:
        change(document)
    path.write_text(json.dumps(document))
    return path


def put(dotted: str, value: object) -> Change:
    """Return a change that sets a member by its path."""

    def change(document: Document) -> None:
        parent, last = _parent(document, dotted)
        parent[last] = deepcopy(value)

    return change


def drop(dotted: str) -> Change:
    """Return a change that removes a member by its path."""

    def change(document: Document) -> None:
        parent, last = _parent(document, dotted)
        del parent[last]

    return change


def _parent(document: Document, dotted: str) -> tuple[Document, str]:
    *parents, last = dotted.split(".")
    for parent in parents:
        document = cast(Document, document[parent])
    return document, last
