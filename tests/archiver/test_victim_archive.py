"""A victim's private copy: what a command works on, whatever happens to the file meanwhile."""

from pathlib import Path

import pytest
import torch

from calpow.archiver.victim_archive import copy_victim, open_copy, open_victim
from calpow.handler.config import file_sha256
from calpow.handler.errors import VictimError
from tests.support.victims.build import pictures, vector_class


def test_a_victim_that_is_replaced_meanwhile_is_used_as_it_was(tmp_path: Path) -> None:
    victim = vector_class(tmp_path, "victim")
    (tmp_path / "other").mkdir()
    other = pictures(tmp_path / "other", "other", script=False)
    expected = file_sha256(victim)
    with copy_victim(victim) as archive:
        victim.write_bytes(other.read_bytes())
        assert archive.sha256 == expected == file_sha256(archive.path)
        with open_copy(archive) as opened:
            assert opened.sha256 == expected
            assert opened.infer(torch.rand(3, 4)).shape == (3, 4)
    assert not archive.path.exists()


def test_the_process_is_as_it_was_after_a_victim_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    victim = vector_class(tmp_path, "victim")
    with open_victim(victim):
        assert Path.cwd() != tmp_path
    assert Path.cwd() == tmp_path
    with open_victim(victim) as again:
        assert again.sha256 == file_sha256(victim)


def test_what_is_no_model_archive_is_refused_by_its_own_path(tmp_path: Path) -> None:
    bogus = tmp_path / "bogus.mar"
    bogus.write_bytes(b"PK not really")
    with pytest.raises(VictimError, match=f"{bogus} is not a model archive"), copy_victim(bogus):
        pass
