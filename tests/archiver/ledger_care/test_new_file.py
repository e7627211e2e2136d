"""Files that are there whole or not at all."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from calpow.archiver.errors import LedgerFileError
from calpow.archiver.ledger_care.new_file import new_file


def test_a_file_has_its_name_when_it_is_whole_and_is_its_owners_alone(tmp_path: Path) -> None:
    with new_file(tmp_path / "export") as part:
        part.write_text("whole")
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
        assert not (tmp_path / "export").exists()
    assert (tmp_path / "export").read_text() == "whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "export"]


def test_what_others_have_left_beside_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "export.part").symlink_to(tmp_path / "elsewhere")
    with new_file(tmp_path / "export") as part:
        part.write_text("whole")
    assert (tmp_path / "export").read_text() == "whole"
    assert not (tmp_path / "elsewhere").exists()


def test_of_what_could_not_be_finished_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "export"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_two_commands_that_write_to_one_path_do_not_write_into_the_same_file(tmp_path: Path) -> None:
    with new_file(tmp_path / "export") as first:
        first.write_text("half of the first")
        with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "export"):
            raise KeyboardInterrupt
        first.write_text("the whole first")
    assert (tmp_path / "export").read_text() == "the whole first"


def test_a_link_to_nowhere_is_no_new_name(tmp_path: Path) -> None:
    (tmp_path / "export").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerFileError, match="is there already"), new_file(tmp_path / "export"):
        pass


WRITER = """
import sys, time
from pathlib import Path
from calpow.archiver.ledger_care.new_file import new_file
with new_file(Path(sys.argv[1])) as part:
    part.write_text("half")
    Path(f"{part}-journal").write_text("SQLite's")
    print("begun", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_command_has_left_is_removed_by_the_next_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [sys.executable, "-c", WRITER, str(tmp_path / "monday")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        left = sorted(tmp_path.iterdir())
        assert len(left) == 2
        with new_file(tmp_path / "tuesday") as part:
            part.write_text("whole")
        # One that is still written stays.
        assert sorted(tmp_path.iterdir()) == [*left, tmp_path / "tuesday"]
        writer.kill()
    assert capsys.readouterr().err == ""
    with new_file(tmp_path / "wednesday") as part:
        part.write_text("whole")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "tuesday", tmp_path / "wednesday"]
    assert f"note: {left[0]} is removed: a command that was killed" in capsys.readouterr().err


def test_a_part_that_another_command_takes_for_a_left_one_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file of its name would be made, which everybody can read."""
    make, taken = tempfile.mkstemp, list[tuple[int, str]]()

    def overtake(ending: str, beginning: str, folder: Path) -> tuple[int, str]:
        descriptor, name = make(ending, beginning, folder)
        if not taken:  # the other command locks it before this one does
            taken.append((os.open(name, os.O_RDWR), name))
            fcntl.flock(taken[0][0], fcntl.LOCK_EX)
        return descriptor, name

    monkeypatch.setattr(tempfile, "mkstemp", overtake)
    with new_file(tmp_path / "export") as part:
        os.unlink(taken[0][1])
        os.close(taken[0][0])
        part.write_text("secrets")
    assert stat.S_IMODE((tmp_path / "export").stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "export"]


def test_of_two_commands_that_write_to_one_path_the_second_replaces_nothing(tmp_path: Path) -> None:
    def write_both(path: Path) -> None:
        with new_file(path) as second:
            with new_file(path) as first:
                first.write_text("the first backup")
            second.write_text("the second")

    with pytest.raises(LedgerFileError, match="is there already"):
        write_both(tmp_path / "export")
    assert (tmp_path / "export").read_text() == "the first backup"
    assert list(tmp_path.iterdir()) == [tmp_path / "export"]


def test_files_that_look_like_parts_and_are_links_stay(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    link = tmp_path / "link.calpow-part"
    link.symlink_to(mine)
    with new_file(tmp_path / "export"):
        pass
    assert link.is_symlink()
    assert mine.read_text() == "mine"


def test_a_file_is_written_where_files_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / "left.calpow-part").write_text("half")
    monkeypatch.setattr("fcntl.flock", refuse)
    with new_file(tmp_path / "export") as part:
        part.write_text("whole")
    assert (tmp_path / "export").read_text() == "whole"
    assert (tmp_path / "left.calpow-part").exists(), "perhaps another command is writing it"


def test_a_file_is_written_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with new_file(tmp_path / "export") as part:
        part.write_text("whole")
    assert list(tmp_path.iterdir()) == [tmp_path / "export"]
