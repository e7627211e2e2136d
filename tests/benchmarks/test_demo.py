"""The demo protects its model anew only when its archive or the code that makes it has changed."""

from pathlib import Path

import pytest

from benchmarks import demo


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the archive of a demo that has just protected its model."""
    source = tmp_path / "handler"
    source.mkdir()
    (source / "gate.py").write_text("PRICE = 1")
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "STORE", tmp_path)
    monkeypatch.setattr(demo, "PROTECTED", tmp_path / "protected")
    (tmp_path / "digits.mar").write_bytes(b"archive")
    demo.PROTECTED.write_text(demo.state())
    return tmp_path / "digits.mar"


def test_an_archive_that_is_there_already_is_served_as_it_is(archive: Path) -> None:
    assert demo.is_protected()


def test_another_archive_is_not_taken_for_the_demos_own(archive: Path) -> None:
    archive.write_bytes(b"another")
    assert not demo.is_protected()


def test_a_missing_archive_is_made(archive: Path) -> None:
    archive.unlink()
    assert not demo.is_protected()


def test_other_code_makes_another_archive(archive: Path) -> None:
    (archive.parent / "handler" / "gate.py").write_text("PRICE = 2")
    assert not demo.is_protected()


def test_a_first_run_protects(archive: Path) -> None:
    demo.PROTECTED.unlink()
    assert not demo.is_protected()
