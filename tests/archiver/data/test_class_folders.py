"""Class folders: what ImageFolder would read, without litter, links in circles, or folders that are no classes."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from calpow.archiver.data.class_folders import LeftOut, class_names, payload_files
from calpow.archiver.errors import FolderError


def touch(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ([], r"holds no class folders: expected is one sub-folder of payload files for each class"),
        (["1.png", "2.png"], r"holds no class folders and 2 files \(1.png, 2.png\): expected"),
        (["a/1"], r"holds one class folder, a: expected is .* for two classes or more"),
        (["data/a/1", "data/b/1"], r"one class folder, data, with 2 folders \(a, b\) in it: give .*/data if these"),
        (["train/a/1", "heldout/a/1"], r"holds 2 folders \(heldout, train\), parts of a data set: give .*/heldout"),
        (["train/a/1", "Test/a/1"], r"holds 2 folders \(Test, train\), parts of a data set: give .*/Test"),
        ([".git/1", "__MACOSX/a/1", "a/1"], r"one class folder, a and"),
    ],
)
def test_a_folder_that_is_not_by_class_is_refused_with_what_was_found(
    files: list[str], line: str, tmp_path: Path
) -> None:
    with pytest.raises(FolderError, match=line):
        class_names(touch(tmp_path, files))


def test_what_is_no_payload_is_left_out_and_said(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1", "a/Thumbs.db", "a/desktop.INI", "a/.DS_Store", "a/__MACOSX/a/1", "a/.git/2", "b/3"])
    touch(tmp_path, ["README.txt", "__MACOSX/a/1"])
    (tmp_path / "b" / "broken").symlink_to("nowhere")
    names, beside = class_names(tmp_path)
    left_out = LeftOut(beside)
    assert names == ("a", "b")
    assert [file.name for name in names for file in payload_files(tmp_path / name, left_out)] == ["1", "3"]
    lines = left_out.describe()
    assert lines[0] == "left out entry README.txt, beside the class folders"
    assert lines[1].startswith("left out 6 entries (")
    assert all(f"a/{name}" in lines[1] for name in ("Thumbs.db", "desktop.INI", ".DS_Store", "__MACOSX", ".git"))
    assert lines[2] == "left out entry b/broken, broken links, or no files"


def test_linked_folders_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    data, elsewhere = touch(tmp_path / "data", ["a/1", "a/deep/2"]), touch(tmp_path / "elsewhere", ["3"])
    (data / "a" / "linked").symlink_to(elsewhere)
    (data / "a" / "deep" / "up").symlink_to(data / "a")
    (elsewhere / "round").symlink_to(elsewhere)
    left_out = LeftOut()
    files = payload_files(data / "a", left_out)
    assert [str(file.relative_to(data)) for file in files] == ["a/1", "a/deep/2", "a/linked/3"]
    assert left_out.describe() == ("left out 2 links (a/linked/round, a/deep/up), back to a folder above",) or (
        left_out.describe() == ("left out 2 links (a/deep/up, a/linked/round), back to a folder above",)
    )
