"""The demo protects its model anew only when its archive or the code that makes it has changed."""

from pathlib import Path

import pytest

from benchmarks.demo import protected_model


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the archive of a demo that has just protected its model."""
    source = tmp_path / "handler"
    source.mkdir()
    (source / "gate.py").write_text("PRICE = 1")
    monkeypatch.setattr(protected_model, "ROOT", tmp_path)
    monkeypatch.setattr(protected_model, "STORE", tmp_path)
    monkeypatch.setattr(protected_model, "PROTECTED", tmp_path / "protected")
    (tmp_path / "digits.mar").write_bytes(b"archive")
    protected_model.PROTECTED.write_text(protected_model.state())
    return tmp_path / "digits.mar"


def test_an_archive_that_is_there_already_is_served_as_it_is(archive: Path) -> None:
    assert protected_model.is_protected()


def test_another_archive_is_not_taken_for_the_demos_own(archive: Path) -> None:
    archive.write_bytes(b"another")
    assert not protected_model.is_protected()


def test_a_missing_archive_is_made(archive: Path) -> None:
    archive.unlink()
    assert not protected_model.is_protected()


def test_other_code_makes_another_archive(archive: Path) -> None:
    (archive.parent / "handler" / "gate.py").write_text("PRICE = 2")
    assert not protected_model.is_protected()


def test_a_first_run_protects(archive: Path) -> None:
    protected_model.PROTECTED.unlink()
    assert not protected_model.is_protected()
