"""The provenance of a calibration: the files that it was made from, as their owner would type them."""

from pathlib import Path

import pytest

from calpow.archiver.calibration.calibration_document import Sources
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.provenance import name_sources


def test_files_are_named_as_one_would_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    order = CalibrationOrder(
        victim=tmp_path / "models" / "digits.mar",
        data=Path("held out"),
        output=Path("calibration.json"),
        ensemble=Path("/elsewhere/teachers.pt"),
    )
    assert name_sources(order) == Sources("models/digits.mar", "held out", "/elsewhere/teachers.pt", None)
