"""Copies of a payload stay with one teacher, and the record of the partitions shows it."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.archiver.payloads import Folder, FolderError, Payload, read_folder
from calpow.archiver.teachers.duplicates import keep_copies_together, payload_digests
from calpow.archiver.teachers.partitions import HELD_BACK, Partition, PartitionError, divide, seal


def folder_of(labels: list[int], units: list[str]) -> Folder:
    payloads = [
        Payload(Path(str(index)), label, f"{label}/{unit}")
        for index, (label, unit) in enumerate(zip(labels, units, strict=True))
    ]
    return Folder(("0", "1"), tuple(payloads))


def test_a_digest_is_of_the_files_bytes(tmp_path: Path) -> None:
    for name, body in (("a", b"x"), ("b", b"y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(body)
    digests = payload_digests(read_folder(tmp_path))
    assert digests == [hashlib.sha256(body).hexdigest() for body in (b"x", b"y")]


def test_a_copy_joins_all_of_its_units() -> None:
    # a holds 1 and 2, b holds 2 and 3, c holds 3: all one; d has nothing in common.
    folder = folder_of([0] * 6, ["a", "a", "b", "b", "c", "d"])
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
    folder = keep_copies_together(folder_of(labels, [str(index) for index in range(len(labels))]), digests)
    partition = divide(folder, 5, seed)
    owners: dict[str, set[int]] = {}
    for digest, owner in zip(digests, partition.owners, strict=True):
        owners.setdefault(digest, set()).add(owner)
    assert all(len(each) == 1 for each in owners.values())
    assert len(set(seal(partition, digests))) == 5


def test_the_same_bytes_in_two_classes_are_refused() -> None:
    with pytest.raises(FolderError, match=r"0 and 1 hold the same bytes in two classes: remove one of them\Z"):
        keep_copies_together(folder_of([0, 1], ["a", "b"]), ["1", "1"])


def test_the_seal_is_of_a_teachers_payloads_in_any_order() -> None:
    digests = [character * 64 for character in "abcd"]
    one, two = seal(Partition(2, (0, 1, 0, HELD_BACK)), digests)
    assert one == hashlib.sha256(f"{'a' * 64}\n{'c' * 64}".encode()).hexdigest()
    assert two == hashlib.sha256(("b" * 64).encode()).hexdigest()
    reordered = [digests[index] for index in (2, 1, 0, 3)]
    assert seal(Partition(2, (0, 1, 0, HELD_BACK)), reordered) == (one, two)


@pytest.mark.parametrize("owners", [(0, 1), (0, HELD_BACK)])
def test_parts_that_are_not_disjoint_are_refused(owners: tuple[int, int]) -> None:
    with pytest.raises(PartitionError, match=r"is in two partitions"):
        seal(Partition(2, owners), ["a" * 64, "a" * 64])
