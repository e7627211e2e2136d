"""The provenance of a calibration: the files that it was made from, as their owner would type them."""

import dataclasses
from pathlib import Path

import pytest

from calpow.archiver.calibration.calibration_document import Sources
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.provenance import chosen_options, how_read, name_sources


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
    plain = CalibrationOrder(victim=Path("v.mar"), data=Path("d"), output=Path("c.json"), scores=("entropy",))
    assert how_read(plain) == {}
    order = dataclasses.replace(plain, part="image", classes=tmp_path / "v.classes.json", records=Path("/r.jsonl"))
    assert how_read(order) == {"classes": "v.classes.json", "records": "/r.jsonl", "part": "image"}


def test_the_options_of_the_owner_are_kept_where_they_are_not_the_default_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = CalibrationOrder(victim=Path("v.mar"), data=Path("d"), output=Path("c.json"))
    assert chosen_options(plain) == {}
    order = dataclasses.replace(
        plain,
        scores=("energy", "norm"),
        tolerate=("noise", "flip"),
        rdp_order=20.0,
        cap_seconds=30.0,
        fast=False,
        attacks={"house numbers": tmp_path / "more"},
    )
    assert chosen_options(order) == {
        "scores": "energy norm",
        "tolerate": "noise,flip",
        "rdp_order": 20.0,
        "cap_seconds": 30.0,
        "reference_client": "python",
        "attack house numbers": "more",
    }
    assert chosen_options(dataclasses.replace(plain, tolerate=())) == {"tolerate": "none"}
