"""Payload folders: read as ImageFolder reads them, handed over as TorchServe hands them, refused by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder

from calpow.archiver.errors import FolderError
from calpow.archiver.payloads import Payload, model_inputs, read_folder, read_row
from calpow.handler.errors import BadPayload


class Numbers:
    """A victim that reads numbers, one sample each: `1 2 3` makes a tensor `[3, 1]`, `1,2` makes `[1, 2]`."""

    def preprocess(self, rows: Sequence[Mapping[str, object]]) -> Tensor:
        (body,) = (row["body"] for row in rows)
        assert isinstance(body, bytes)
        try:
            return torch.tensor([[float(value) for value in line.split(",")] for line in body.decode().split()])
        except ValueError as problem:
            raise BadPayload("the model cannot read this payload (ValueError)") from problem


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def payload(path: Path) -> Payload:
    return Payload(path, 0, "unit")


def test_a_folder_of_images_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a/x/1.png", "a/0.png", "10/z.png", "2/y.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path)
    ours, theirs = read_folder(tmp_path), ImageFolder(tmp_path)
    assert list(ours.class_names) == theirs.classes
    assert sorted((str(payload.path), payload.label) for payload in ours.payloads) == sorted(theirs.samples)


def test_files_of_any_kind_are_payloads_but_hidden_ones_are_not(tmp_path: Path) -> None:
    files = {"a/1.json": "{}", "a/2": "x", "a/.DS_Store": "x", "b/3.wav": "x", "b/.git/4": "x", ".cache/5": "x"}
    folder = read_folder(write(tmp_path, {**files, "README.txt": "not in a class"}))
    assert folder.class_names == ("a", "b")
    assert [payload.path.name for payload in folder.payloads] == ["1.json", "2", "3.wav"]


def test_files_of_one_sub_folder_are_one_unit(tmp_path: Path) -> None:
    files = ["a/ann/1", "a/ann/2", "a/ann/more/3", "a/bob/1", "a/4", "b/ann/1"]
    folder = read_folder(write(tmp_path, dict.fromkeys(files, "x")))
    units = {str(payload.path.relative_to(tmp_path)): payload.unit for payload in folder.payloads}
    assert units["a/ann/1"] == units["a/ann/2"] == units["a/ann/more/3"]
    assert len(set(units.values())) == 4


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "0 class folders"),
        ({"1.png": "x", "2.png": "x"}, "0 class folders"),
        ({"a/1": "x"}, "1 class folders"),
        ({"a/1": "x", "b/.hidden": "x"}, "b has no files"),
    ],
)
def test_a_folder_that_is_not_by_class_is_refused(tmp_path: Path, files: Mapping[str, str], words: str) -> None:
    with pytest.raises(FolderError, match=words):
        read_folder(write(tmp_path, files))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="nowhere is not a folder"):
        read_folder(tmp_path / "nowhere")


def test_a_row_holds_the_bytes_of_a_file(tmp_path: Path) -> None:
    write(tmp_path, {"1.png": b"\x89PNG\x00\xff"})
    assert read_row(payload(tmp_path / "1.png")) == {"body": b"\x89PNG\x00\xff"}


def test_a_row_of_a_json_file_is_parsed_as_torchserve_parses_it(tmp_path: Path) -> None:
    write(tmp_path, {"1.JSON": '{"text": ["gr\u00fc\u00df", 1]}'})
    assert read_row(payload(tmp_path / "1.JSON")) == {"body": {"text": ["gr\u00fc\u00df", 1]}}


@pytest.mark.parametrize(("name", "words"), [("bad.json", "bad.json is not the JSON"), ("gone.png", "gone.png cannot")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, words: str) -> None:
    write(tmp_path, {"bad.json": "{"})
    with pytest.raises(FolderError, match=words):
        read_row(payload(tmp_path / name))


def test_payloads_come_as_the_victim_reads_them_in_order(tmp_path: Path) -> None:
    folder = read_folder(write(tmp_path, {"a/1": "1", "a/2": "2 3", "b/1": "4"}))
    inputs = [tensor.tolist() for tensor in model_inputs(Numbers(), folder.payloads)]
    assert inputs == [[[1.0]], [[2.0], [3.0]], [[4.0]]]


def test_a_payload_the_victim_cannot_read_is_named(tmp_path: Path) -> None:
    folder = read_folder(write(tmp_path, {"a/1": "1", "b/word": "word"}))
    with pytest.raises(FolderError, match=r"b/word: the model cannot read this payload"):
        list(model_inputs(Numbers(), folder.payloads))


def test_a_payload_of_another_shape_is_named(tmp_path: Path) -> None:
    folder = read_folder(write(tmp_path, {"a/1": "1", "b/pair": "1,2"}))
    with pytest.raises(FolderError, match=r"b/pair: .*shape \(2,\) of it and of \(1,\)"):
        list(model_inputs(Numbers(), folder.payloads))
