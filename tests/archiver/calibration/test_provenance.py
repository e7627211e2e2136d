"""The provenance of a calibration: the files that it was made from, as their owner would type them."""

import dataclasses
from pathlib import Path

import pytest

from calpow.archiver.calibration.calibration_document import Sources
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.provenance import how_read, name_sources


def test_files_are_named_as_one_would_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    order = CalibrationOrder(
        victim=tmp_path / "models" / "digits.mar",
        data=Path("held out"),
        output=Path("calibration.json"),
        ensemble=Path("/elsewhere/teachers.pt"),
    )
    assert name_sources(order) == Sources("models/digits.mar", "held out", "/elsewhere/teachers.pt", None)


def test_how_the_data_were_read_is_kept_where_it_was_not_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = CalibrationOrder(victim=Path("v.mar"), data=Path("d"), output=Path("c.json"), metrics=("entropy",))
    assert how_read(plain) == {}
    order = dataclasses.replace(plain, part="image", classes=tmp_path / "v.classes.json", records=Path("/r.jsonl"))
    assert how_read(order) == {"classes": "v.classes.json", "records": "/r.jsonl", "part": "image"}
