"""Partitions: disjoint, stratified, no unit and no copy divided, and a digest that shows it."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.archiver.data.payloads import Payload, PayloadFolder, read_folder
from calpow.archiver.errors import FolderError, PartitionError
from calpow.archiver.teachers.partitions import (
    FEWEST_TEACHERS,
    HELD_BACK,
    Partition,
    are_parts_of,
    divide,
    keep_copies_together,
    most_teachers,
    partition_digests,
    payload_digests,
    units_needed,
)


def folder_of(units: list[list[int]]) -> PayloadFolder:
    """One list a class, one number a unit: how many files it has."""
    payloads = [
        Payload(Path(f"{label}/{unit}/{file}"), label, f"{label}/{unit}")
        for label, sizes in enumerate(units)
        for unit, size in enumerate(sizes)
        for file in range(size)
    ]
    return PayloadFolder(tuple(str(label) for label in range(len(units))), tuple(payloads))


many_units = st.lists(st.lists(st.integers(1, 4), min_size=12, max_size=40), min_size=2, max_size=5)


@settings(max_examples=50, deadline=None)
@given(units=many_units, teachers=st.integers(2, 9), seed=st.integers(0, 2**32 - 1))
def test_partitions_are_stratified_and_leave_no_unit_divided(units: list[list[int]], teachers: int, seed: int) -> None:
    folder = folder_of(units)
    partition = divide(folder, teachers, seed)
    assert partition == divide(folder, teachers, seed)
    owners: dict[str, set[int]] = {}
    for payload, owner in zip(folder.payloads, partition.owners, strict=True):
        owners.setdefault(payload.unit, set()).add(owner)
    assert all(len(teachers_of_unit) == 1 for teachers_of_unit in owners.values())
    of_class = [
        Counter(min(owners[f"{label}/{unit}"]) for unit in range(len(sizes))) for label, sizes in enumerate(units)
    ]
    for counts, sizes in zip(of_class, units, strict=True):
        assert counts[HELD_BACK] == max(1, round(len(sizes) / 10))
        shares = [counts[teacher] for teacher in range(teachers)]
        assert min(shares) >= 1
        assert max(shares) - min(shares) <= 1
    totals = [sum(counts[teacher] for counts in of_class) for teacher in range(teachers)]
    assert max(totals) - min(totals) <= 1


def test_other_seeds_make_other_partitions() -> None:
    folder = folder_of([[1] * 30, [1] * 30])
    assert divide(folder, 3, 0) != divide(folder, 3, 1)


@pytest.mark.parametrize(("per_class", "teachers"), [(10, 4), (100, 45), (1000, 250), (5, 2)])
def test_by_default_a_teacher_gets_two_units_of_each_class(per_class: int, teachers: int) -> None:
    assert divide(folder_of([[1] * per_class, [1] * (per_class + 50)]), None, 0).teachers == teachers


@pytest.mark.parametrize(("classes", "teachers"), [(2, 250), (100, 250), (120, 208), (1_000, 25), (30_000, 10)])
def test_many_classes_have_fewer_teachers_by_default(classes: int, teachers: int) -> None:
    assert most_teachers(classes) == teachers


def test_too_many_teachers_are_refused_with_the_number_that_fits() -> None:
    folder = folder_of([[1] * 50, [8] * 20])
    with pytest.raises(PartitionError, match=r"class 1 has 20,.* give at least 21 of each class, or --teachers 18\Z"):
        divide(folder, 19, 0)
    assert divide(folder, 18, 0).teachers == 18
    assert divide(folder_of([[1] * 50, [8] * 21]), 19, 0).teachers == 19


@pytest.mark.parametrize("teachers", [1, 0, -3])
def test_fewer_than_two_teachers_are_refused(teachers: int) -> None:
    with pytest.raises(PartitionError, match="give at least 2; one teacher always agrees with itself"):
        divide(folder_of([[1] * 20, [1] * 20]), teachers, 0)


@pytest.mark.parametrize(
    ("units", "line"),
    [
        ([[1] * 3, [1] * 3], r"too few payloads for 2 teachers in 2 classes \(0, 1\): class 0 has 3,.* and 1 of them"),
        ([[1] * 50, [1] * 2], r"too few payloads for 2 teachers in class 1: class 1 has 2,"),
        ([[1] * 50, [80]], r"in class 1: class 1 has 1, the files of a sub-folder and copies counted once"),
    ],
)
def test_too_few_payloads_for_two_teachers_are_refused_with_the_number_that_would_do(
    units: list[list[int]], line: str
) -> None:
    with pytest.raises(PartitionError, match=line + r".* at least 5 of each class; with 22, there are 10 teachers\Z"):
        divide(folder_of(units), None, 0)


@pytest.mark.parametrize(("teachers", "each", "units"), [(2, 2, 5), (10, 2, 22), (250, 2, 556), (19, 1, 21)])
def test_the_number_that_would_do_does_and_one_less_does_not(teachers: int, each: int, units: int) -> None:
    assert units_needed(teachers, each) == units
    wanted = teachers if each == 1 else None
    assert divide(folder_of([[1] * units] * 2), wanted, 0).teachers == teachers
    less = folder_of([[1] * (units - 1)] * 2)
    if teachers == FEWEST_TEACHERS or each == 1:
        with pytest.raises(PartitionError):
            divide(less, wanted, 0)
    else:
        assert divide(less, wanted, 0).teachers < teachers


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(PartitionError, match="seed cannot be -1"):
        divide(folder_of([[1] * 20, [1] * 20]), 2, -1)


def folder_with_units(labels: list[int], units: list[str]) -> PayloadFolder:
    payloads = [
        Payload(Path(str(index)), label, f"{label}/{unit}")
        for index, (label, unit) in enumerate(zip(labels, units, strict=True))
    ]
    return PayloadFolder(("0", "1"), tuple(payloads))


def test_a_digest_is_of_the_files_bytes(tmp_path: Path) -> None:
    for name, body in (("a", b"x"), ("b", b"y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(body)
    digests = payload_digests(read_folder(tmp_path))
    assert digests == [hashlib.sha256(body).hexdigest() for body in (b"x", b"y")]


def test_all_files_that_cannot_be_read_are_listed_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    folder = read_folder(tmp_path)
    for payload in folder.payloads:
        payload.path.unlink()
    with pytest.raises(
        FolderError, match=r"2 of 2 payloads cannot be used: .*a/file: cannot be read: No such .*b/file"
    ):
        payload_digests(folder)


def test_a_copy_joins_all_of_its_units() -> None:
    # a holds 1 and 2, b holds 2 and 3, c holds 3: all one; d has nothing in common.
    folder = folder_with_units([0] * 6, ["a", "a", "b", "b", "c", "d"])
    joined = keep_copies_together(folder, ["1", "2", "2", "3", "3", "4"])
    units = [payload.unit for payload in joined.payloads]
    assert len(set(units[:5])) == 1
    assert units[5] not in units[:5]
    assert [payload.path for payload in joined.payloads] == [payload.path for payload in folder.payloads]


@settings(max_examples=50)
@given(contents=st.lists(st.integers(0, 60), min_size=60, max_size=120), seed=st.integers(0, 1000))
def test_no_payload_is_in_two_parts_whatever_copies_there_are(contents: list[int], seed: int) -> None:
    labels = [content % 2 for content in contents] + [0, 1] * 20
    digests = [f"{content:064x}" for content in contents] + [f"{100 + extra:064x}" for extra in range(40)]
    folder = keep_copies_together(folder_with_units(labels, [str(index) for index in range(len(labels))]), digests)
    partition = divide(folder, 5, seed)
    owners: dict[str, set[int]] = {}
    for digest, owner in zip(digests, partition.owners, strict=True):
        owners.setdefault(digest, set()).add(owner)
    assert all(len(teachers_of_unit) == 1 for teachers_of_unit in owners.values())
    assert len(set(partition_digests(partition, digests))) == 5


def test_the_same_bytes_in_two_classes_are_refused() -> None:
    with pytest.raises(FolderError, match=r"0 and 1 hold the same bytes in two classes: remove one of them\Z"):
        keep_copies_together(folder_with_units([0, 1], ["a", "b"]), ["1", "1"])


def test_the_digest_is_of_a_teachers_payloads_in_any_order() -> None:
    digests = [character * 64 for character in "abcd"]
    one, two = partition_digests(Partition(2, (0, 1, 0, HELD_BACK)), digests)
    assert one == hashlib.sha256(f"{'a' * 64}\n{'c' * 64}".encode()).hexdigest()
    assert two == hashlib.sha256(("b" * 64).encode()).hexdigest()
    reordered = [digests[index] for index in (2, 1, 0, 3)]
    assert partition_digests(Partition(2, (0, 1, 0, HELD_BACK)), reordered) == (one, two)


@pytest.mark.parametrize("owners", [(0, 1), (0, HELD_BACK)])
def test_parts_that_are_not_disjoint_are_refused(owners: tuple[int, int]) -> None:
    with pytest.raises(PartitionError, match=r"is in two partitions"):
        partition_digests(Partition(2, owners), ["a" * 64, "a" * 64])


def test_a_folder_is_known_by_the_parts_that_it_was_divided_into(tmp_path: Path) -> None:
    for label in range(2):
        (tmp_path / str(label)).mkdir()
        for number in range(30):
            (tmp_path / str(label) / f"{number}.txt").write_text(f"{label} {number}")
    folder = read_folder(tmp_path)
    own = payload_digests(folder)
    parts = partition_digests(divide(folder, 5, seed=3), own)
    assert are_parts_of(read_folder(tmp_path), parts, seed=3)
    assert not are_parts_of(folder, parts, seed=4)
    (tmp_path / "0" / "29.txt").unlink()
    assert not are_parts_of(read_folder(tmp_path), parts, seed=3)
    (tmp_path / "0" / "29.txt").write_text("1 0")  # in two classes: no folder that teachers are trained on
    assert not are_parts_of(read_folder(tmp_path), parts, seed=3)
