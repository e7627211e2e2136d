"""The order of the classes: from a file of the owner's, or from the victim's archive."""

import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from calpow.archiver.data.data_source import DataSource, read_class_names
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.errors import ClassOrderError


def animals(folder: Path, *names: str) -> Path:
    for name in names or ("bird", "cat", "dog"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.png").write_text(name)
    return folder


def archive(folder: Path, names: object = None) -> Path:
    """Write an archive that holds the names of classes, if any."""
    with zipfile.ZipFile(folder / "victim.mar", "w") as victim:
        victim.writestr("MAR-INF/MANIFEST.json", "{}")
        if names is not None:
            victim.writestr("index_to_name.json", json.dumps(names))
    return folder / "victim.mar"


def classes_file(folder: Path, names: object) -> Path:
    (folder / "classes.json").write_text(names if isinstance(names, str) else json.dumps(names))
    return folder / "classes.json"


def labels(folder: PayloadFolder) -> dict[str, int]:
    return {payload.path.parent.name: payload.label for payload in folder.payloads}


@pytest.mark.parametrize(
    "names",
    [
        {"0": "dog", "1": "bird", "2": "cat"},
        {"2": ["n2", "cat"], "1": ["n1", "bird"], "0": ["n0", "dog"]},
        {"0": "Dog", "1": " bird", "2": "CAT"},
        {"object_type_names": ["dog", "bird", "cat"]},
        ["dog", "bird", "cat"],
    ],
)
def test_a_file_orders_the_classes(names: object, tmp_path: Path) -> None:
    source = DataSource(animals(tmp_path / "data"), classes=classes_file(tmp_path, names))
    folder = source.read(archive(tmp_path))
    assert folder.class_names == ("dog", "bird", "cat")
    assert labels(folder) == {"dog": 0, "bird": 1, "cat": 2}
    assert [payload.label for payload in folder.payloads] == [0, 1, 2]


def test_folders_that_are_called_by_their_index_are_in_its_order(tmp_path: Path) -> None:
    numbers = [str(number) for number in range(12)]
    names = classes_file(tmp_path, {number: f"thing {number}" for number in numbers})
    folder = DataSource(animals(tmp_path / "data", *numbers), classes=names).read(archive(tmp_path))
    assert list(folder.class_names) == numbers


def test_names_in_the_victims_archive_order_the_classes_and_that_is_said(tmp_path: Path) -> None:
    folder = DataSource(animals(tmp_path / "data")).read(archive(tmp_path, {"0": "dog", "1": "bird", "2": "cat"}))
    assert folder.class_names == ("dog", "bird", "cat")
    assert folder.notes == ("the classes are in the order of index_to_name.json in victim.mar",)


def test_names_in_an_archive_of_another_format_are_read_too(tmp_path: Path) -> None:
    archive(tmp_path, {"0": "dog", "1": "bird", "2": "cat"})
    with zipfile.ZipFile(tmp_path / "victim.mar") as victim:
        victim.extractall(tmp_path / "victim")
    with tarfile.open(tmp_path / "victim.tgz", "w:gz") as tar:
        tar.add(tmp_path / "victim", "victim")
    for victim_archive in (tmp_path / "victim", tmp_path / "victim.tgz"):
        assert (
            DataSource(animals(tmp_path / f"data{victim_archive.suffix}")).read(victim_archive).class_names[0] == "dog"
        )


@pytest.mark.parametrize(
    "names", [None, {"0": "thing 0", "1": "thing 1"}, {"0": "bird", "1": "cat", "2": "dog"}, {"1": "dog"}, "no object"]
)
def test_without_names_that_are_the_folders_the_order_is_alphabetical(names: object, tmp_path: Path) -> None:
    folder = DataSource(animals(tmp_path / "data")).read(archive(tmp_path, names))
    assert (folder.class_names, folder.notes) == (("bird", "cat", "dog"), ())


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ("{", "classes.json is not JSON"),
        ("{}", "classes.json names no classes: give {"),
        ({"1": "cat", "2": "dog", "3": "bird"}, "has other keys than 0 to 2"),
        ({"0": 1, "1": "dog", "2": "bird"}, "has a class whose name is no text"),
        ({"0": "cat", "1": "dog", "2": "cow"}, r"data has class folder bird that the file .* names class cow that"),
        (
            {"0": "cat", "1": "dog", "2": "bird", "3": "cow", "4": "pig"},
            r"the file names 2 classes \(cow, pig\) that .*data has no folder for",
        ),
        ({"0": "cat", "1": "cat", "2": "cat"}, r"data has 2 class folders \(bird, dog\) that the file does not name"),
    ],
)
def test_a_file_that_is_not_of_the_folders_classes_is_refused(names: object, line: str, tmp_path: Path) -> None:
    source = DataSource(animals(tmp_path / "data"), classes=classes_file(tmp_path, names))
    with pytest.raises(ClassOrderError, match=line):
        source.read(archive(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClassOrderError, match=r"nowhere\.json cannot be read"):
        read_class_names(tmp_path / "nowhere.json")
