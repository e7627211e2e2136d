"""Model archives of every format that torch-model-archiver writes are read as `.mar`."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from calpow.archiver.archive_formats import archive_stem, copy_as_mar
from calpow.archiver.victim.fingerprint import fingerprint
from calpow.archiver.victim.victim_archive import copy_victim
from calpow.handler.errors import VictimError
from calpow.handler.model_archive import read_manifest
from tests.support.victims.build import archive, vector_class


def test_a_mar_is_copied_byte_for_byte(tmp_path: Path) -> None:
    victim = vector_class(tmp_path, "victim")
    copy_as_mar(victim, tmp_path / "copy.mar")
    assert (tmp_path / "copy.mar").read_bytes() == victim.read_bytes()


@pytest.mark.parametrize(("archive_format", "suffix"), [("tgz", ".tar.gz"), ("no-archive", "")])
def test_other_formats_hold_the_same_victim(tmp_path: Path, archive_format: str, suffix: str) -> None:
    victim = vector_class(tmp_path, "victim")
    other = tmp_path / "other"
    other.mkdir()
    with zipfile.ZipFile(victim) as members:
        members.extractall(tmp_path / "members")
    archive(
        other,
        "victim",
        str(tmp_path / "members" / "vector_handler.py"),
        archive_format=archive_format,
        model_file=tmp_path / "members" / "vector_net.py",
        serialized_file=tmp_path / "members" / "victim.pth",
    )
    with copy_victim(other / f"victim{suffix}") as copy, copy_victim(other / f"victim{suffix}") as again:
        assert copy.path.name == "victim.mar"
        assert read_manifest(copy.path)["handler"] == "vector_handler.py"
        assert copy.fingerprint == fingerprint(victim)
        assert copy.sha256 == again.sha256


def test_a_folder_or_tar_file_of_anything_else_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "weights.pt").write_bytes(b"weights")
    tar = tmp_path / "any.tgz"
    with tarfile.open(tar, "w:gz") as file:
        file.add(folder / "weights.pt", "weights.pt")
    for source in (folder, tar):
        with pytest.raises(VictimError, match=f"{source} holds no MAR-INF/MANIFEST.json"):
            copy_as_mar(source, tmp_path / "copy.mar")


def test_a_tar_file_cannot_place_files_outside(tmp_path: Path) -> None:
    tar = tmp_path / "victim.tgz"
    (tmp_path / "file").write_bytes(b"{}")
    with tarfile.open(tar, "w:gz") as file:
        file.add(tmp_path / "file", "MAR-INF/MANIFEST.json")
        file.add(tmp_path / "file", "../../outside.py")
    with pytest.raises(VictimError, match=r"holds \.\./\.\./outside.py, which is no file of an archive"):
        copy_as_mar(tar, tmp_path / "copy.mar")


def test_a_damaged_tar_file_is_refused_by_its_name(tmp_path: Path) -> None:
    tar = tmp_path / "victim.tgz"
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4096)
    with tarfile.open(tar, "w:gz") as file:
        file.add(tmp_path / "file", "MAR-INF/MANIFEST.json")
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(VictimError, match=f"{tar} cannot be read"):
        copy_as_mar(tar, tmp_path / "copy.mar")


@pytest.mark.parametrize("name", ["model.v2.mar", "model.v2.tar.gz", "model.v2.tgz", "model.v2"])
def test_the_suffix_of_a_format_is_no_part_of_the_name(name: str) -> None:
    assert archive_stem(Path("folder") / name) == "model.v2"
