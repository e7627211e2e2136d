"""Checkpoints keep finished work whole, by run, and are gone at the end."""

from pathlib import Path

import torch

from calpow.archiver.teachers.checkpoints import Checkpoints


def test_what_was_saved_comes_back_in_the_same_run_only(tmp_path: Path) -> None:
    output = tmp_path / "teachers.pt"
    first = Checkpoints(output, {"seed": 1, "data": ["a", "b"]})
    assert not first.resumes
    first.save("part", {"values": torch.arange(3)})
    again = Checkpoints(output, {"data": ["a", "b"], "seed": 1})
    assert again.resumes
    saved = again.load("part")
    assert saved is not None
    assert torch.equal(saved["values"], torch.arange(3))
    other = Checkpoints(output, {"seed": 2, "data": ["a", "b"]})
    assert not other.resumes
    assert other.load("part") is None


def test_what_cannot_be_read_is_as_good_as_not_there(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "teachers.pt", {})
    kept.save("part", {"values": torch.arange(1000)})
    (file,) = tmp_path.rglob("part.pt")
    file.write_bytes(file.read_bytes()[:500])
    assert kept.load("part") is None
    assert kept.load("another") is None


def test_only_the_run_that_is_over_is_removed(tmp_path: Path) -> None:
    output = tmp_path / "teachers.pt"
    over, other = Checkpoints(output, {"seed": 1}), Checkpoints(output, {"seed": 2})
    other.save("part", {})
    over.remove()
    assert Checkpoints(output, {"seed": 2}).load("part") == {}
    other.remove()
    assert list(tmp_path.iterdir()) == []
