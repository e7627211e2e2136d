"""Payload folders: read as ImageFolder reads them, handed over as TorchServe hands them, refused by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from calpow.archiver.data.payloads import BadPayloads, Payload, list_payloads, part_advice, read_folder, read_row
from calpow.archiver.errors import FolderError
from calpow.handler.errors import BadPayload
from calpow.handler.leakage.recording import Call


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def payload(path: Path, part: str = "body") -> Payload:
    return Payload(path, 0, "unit", part)


def units(folder: Path, files: Sequence[str]) -> dict[str, str]:
    """Return the unit of each of the files, by its path in the folder."""
    read = read_folder(write(folder, dict.fromkeys(files, "x")))
    return {str(payload.path.relative_to(folder)): payload.unit for payload in read.payloads}


def test_a_folder_of_images_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    names = ("data/b/2.png", "data/b/10.png", "data/a/x/1.png", "data/a/0.png", "data/10/z.png", "elsewhere/y/y.png")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path)
    (data / "2").symlink_to(elsewhere)
    (data / "10" / "linked").symlink_to(elsewhere / "y")
    ours, theirs = read_folder(data), ImageFolder(data)
    assert list(ours.class_names) == theirs.classes
    assert sorted((str(payload.path), payload.label) for payload in ours.payloads) == sorted(theirs.samples)


def test_files_of_any_kind_are_payloads_but_hidden_ones_are_not(tmp_path: Path) -> None:
    files = {"a/1.json": "{}", "a/2": "x", "a/.DS_Store": "x", "b/3.wav": "x", "b/.git/4": "x", ".cache/5": "x"}
    folder = read_folder(write(tmp_path, {**files, "README.txt": "not in a class"}))
    assert folder.class_names == ("a", "b")
    assert [payload.path.name for payload in folder.payloads] == ["1.json", "2", "3.wav"]


def test_files_of_one_sub_folder_are_one_unit(tmp_path: Path) -> None:
    of = units(tmp_path, ["a/ann/1", "a/ann/2", "a/ann/more/3", "a/bob/1", "a/4", "b/ann/1"])
    assert of["a/ann/1"] == of["a/ann/2"] == of["a/ann/more/3"]
    assert len(set(of.values())) == 4


@pytest.mark.parametrize(
    "files",
    [
        ["a/images/1", "a/images/2", "b/images/1"],
        ["a/images/1", "a/images/2", "a/boxes.txt", "b/images/1"],
        ["a/images/train/1", "a/images/train/2", "b/images/train/1"],
    ],
)
def test_the_one_sub_folder_that_all_classes_have_is_no_unit(files: list[str], tmp_path: Path) -> None:
    assert len(set(units(tmp_path, files).values())) == len(files)


def test_below_the_one_sub_folder_of_all_classes_sub_folders_are_units(tmp_path: Path) -> None:
    of = units(tmp_path, ["a/images/ann/1", "a/images/ann/2", "a/images/bob/1", "b/images/3"])
    assert of["a/images/ann/1"] == of["a/images/ann/2"]
    assert len(set(of.values())) == 3


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="nowhere is not a folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(FolderError, match="nowhere is not a folder"):
        list_payloads(tmp_path / "nowhere")


def test_all_empty_class_folders_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"a/1": "x", "b/.hidden": "x", "c/Thumbs.db": "x", "d/2": "x"})
    with pytest.raises(FolderError, match=r"no files in 2 class folders \(b, c\): add payloads of each class"):
        read_folder(tmp_path)


def test_a_row_holds_the_bytes_of_a_file_in_the_part_that_carries_it(tmp_path: Path) -> None:
    write(tmp_path, {"1.png": b"\x89PNG\x00\xff", "2.json": "[1]"})
    assert read_row(payload(tmp_path / "1.png")) == {"body": b"\x89PNG\x00\xff"}
    assert read_row(payload(tmp_path / "1.png", "image")) == {"image": b"\x89PNG\x00\xff"}
    assert read_row(payload(tmp_path / "2.json", "image")) == {"image": [1]}


def test_the_part_is_that_of_all_payloads_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, {"a/1": "x", "b/2": "y"})
    assert {payload.part for payload in read_folder(tmp_path, "image").payloads} == {"image"}
    assert {payload.part for payload in list_payloads(tmp_path, "image")} == {"image"}


def test_a_row_of_a_json_file_is_parsed_as_torchserve_parses_it(tmp_path: Path) -> None:
    write(tmp_path, {"1.JSON": '{"text": ["gr\u00fc\u00df", 1]}'})
    assert read_row(payload(tmp_path / "1.JSON")) == {"body": {"text": ["gr\u00fc\u00df", 1]}}


@pytest.mark.parametrize(("name", "words"), [("bad.json", "bad.json is not the JSON"), ("gone.png", "gone.png cannot")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, words: str) -> None:
    write(tmp_path, {"bad.json": "{"})
    with pytest.raises(FolderError, match=words):
        read_row(payload(tmp_path / name))


def test_all_bad_payloads_are_listed_in_one_message(tmp_path: Path) -> None:
    bad = BadPayloads()
    bad.check(1_400)
    for number in range(12):
        bad.add(payload(tmp_path / f"{number:02}"), BadPayload("the model cannot read this payload (ValueError)"))
    with pytest.raises(FolderError) as refusal:
        bad.check(1_400)
    text = str(refusal.value)
    assert text.startswith("12 of 1,400 payloads cannot be used: mend or remove them: ")
    assert [str(tmp_path / f"{number:02}") in text for number in range(12)] == [True] * 10 + [False] * 2
    assert text.endswith("; and 2 more")


def test_one_bad_payload_is_the_whole_message(tmp_path: Path) -> None:
    bad = BadPayloads()
    bad.add(payload(tmp_path / "1"), FolderError(f"{tmp_path / '1'} cannot be read: no"))
    with pytest.raises(FolderError, match=rf"\A{tmp_path / '1'} cannot be read: no\Z"):
        bad.check(1)


class PartReader:
    """A victim whose handler takes its payload from these parts, the first that is there."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def calls(self, row: Mapping[str, object]) -> Sequence[Call]:
        if not any(row.get(part) for part in self.parts[:-1]):
            row[self.parts[-1]]
        raise BadPayload("the model cannot read this payload (ValueError)")


@pytest.mark.parametrize(
    ("parts", "advice"),
    [
        (("image",), ": its handler looks for 'image': give --part image"),
        (("image", "file"), ": its handler looks for 'image' and 'file': give --part image"),
        (("data", "body"), ""),
    ],
)
def test_the_part_that_a_handler_looks_for_is_advised(parts: tuple[str, ...], advice: str, tmp_path: Path) -> None:
    write(tmp_path, {"1": "x"})
    assert part_advice(PartReader(*parts), payload(tmp_path / "1")) == advice
