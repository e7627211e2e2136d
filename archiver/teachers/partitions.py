"""Partitions of a training set: disjoint, stratified, one per teacher, and one held back from all of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from calpow.archiver.errors import FolderError, PartitionError
from calpow.archiver.payloads import PayloadFolder

# The paper has 250 teachers for MNIST and SVHN (section 4.1); more of them do not improve the vote.
MOST_TEACHERS = 250
UNITS_PER_CLASS = 2
HELD_OUT = 0.1
# In place of a teacher, for the payloads that measure accuracy.
HELD_BACK = -1


@dataclass(frozen=True)
class Partition:
    """The teacher of each payload, counted from 0, or HELD_BACK."""

    teachers: int
    owners: tuple[int, ...]


def payload_digests(folder: PayloadFolder) -> list[str]:
    """Return the hexadecimal SHA-256 of each payload's bytes. Raises FolderError when a file cannot be read."""
    digests = []
    for payload in tqdm(folder.payloads, desc="reading", unit="payload", disable=None):
        try:
            digests.append(hashlib.sha256(payload.path.read_bytes()).hexdigest())
        except OSError as problem:
            raise FolderError(f"{payload.path} cannot be read: {problem.strerror}") from problem
    return digests


def keep_copies_together(folder: PayloadFolder, digests: Sequence[str]) -> PayloadFolder:
    """Return the same payloads with all units merged that have a payload's bytes in common.

    `digests` are the payloads' own. Raises FolderError when two classes hold the same bytes.
    """
    units = _DisjointSets()
    first: dict[str, int] = {}
    for index, (payload, digest) in enumerate(zip(folder.payloads, digests, strict=True)):
        original = folder.payloads[first.setdefault(digest, index)]
        if original.label != payload.label:
            raise FolderError(
                f"{original.path} and {payload.path} hold the same bytes in two classes: remove one of them"
            )
        units.join(original.unit, payload.unit)
    merged = tuple(replace(payload, unit=units.find(payload.unit)) for payload in folder.payloads)
    return replace(folder, payloads=merged)


def divide(folder: PayloadFolder, teachers: int | None, seed: int) -> Partition:
    """Hold back a tenth of each class's units, and deal the others to the teachers in turn.

    By default there are as many teachers as get two units of each class, at most 250. Raises PartitionError when a
    teacher would get no unit of a class.
    """
    if seed < 0:
        raise PartitionError(f"the seed cannot be {seed}: give a number from 0")
    classes = _units_by_class(folder)
    held_back = [max(1, round(HELD_OUT * len(units))) for units in classes]
    left = [len(units) - held for units, held in zip(classes, held_back, strict=True)]
    smallest = min(range(len(left)), key=left.__getitem__)
    if teachers is None:
        teachers = max(1, min(MOST_TEACHERS, left[smallest] // UNITS_PER_CLASS))
    if teachers < 1:
        raise PartitionError(f"there cannot be {teachers} teachers: give at least one")
    if left[smallest] < teachers:
        raise PartitionError(
            f"class {folder.class_names[smallest]} has {len(classes[smallest])} payloads, {held_back[smallest]} of them"
            f" held back: {teachers} teachers need one each; add data or give --teachers {max(1, left[smallest])}"
        )
    owner_of = _deal(classes, held_back, teachers, seed)
    return Partition(teachers, tuple(owner_of[payload.unit] for payload in folder.payloads))


def partition_digests(partition: Partition, digests: Sequence[str]) -> tuple[str, ...]:
    """Return, for each teacher, the SHA-256 of its payloads' sorted hexadecimal SHA-256s, one a line.

    `digests` are the payloads' own. From the result, an owner of the data can verify which teacher had which part, and
    nobody else learns what the teachers were trained on (decision 0022).
    Raises PartitionError when the same bytes belong to two partitions, the one held back included.
    """
    owner_of: dict[str, int] = {}
    for digest, owner in zip(digests, partition.owners, strict=True):
        if owner_of.setdefault(digest, owner) != owner:
            raise PartitionError(f"a payload of SHA-256 {digest} is in two partitions: remove one of its copies")
    parts: list[list[str]] = [[] for _ in range(partition.teachers)]
    for digest, owner in zip(digests, partition.owners, strict=True):
        if owner != HELD_BACK:
            parts[owner].append(digest)
    return tuple(hashlib.sha256("\n".join(sorted(part)).encode()).hexdigest() for part in parts)


def _deal(classes: Sequence[list[str]], held_back: Sequence[int], teachers: int, seed: int) -> dict[str, int]:
    """Return the owner of each unit."""
    owner_of: dict[str, int] = {}
    rng = np.random.default_rng(seed)
    turn = 0
    for units, held in zip(classes, held_back, strict=True):
        shuffled = [units[index] for index in rng.permutation(len(units))]
        owner_of.update(dict.fromkeys(shuffled[:held], HELD_BACK))
        # The next class begins with the next teacher, so that the sizes of partitions differ by one unit at most.
        for unit in shuffled[held:]:
            owner_of[unit] = turn % teachers
            turn += 1
    return owner_of


def _units_by_class(folder: PayloadFolder) -> list[list[str]]:
    classes: list[dict[str, None]] = [{} for _ in folder.class_names]
    for payload in folder.payloads:
        classes[payload.label][payload.unit] = None
    return [list(units) for units in classes]


class _DisjointSets:
    """Disjoint sets of units; each set is named by its first unit."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, unit: str) -> str:
        parent = self._parent
        while (above := parent.setdefault(unit, unit)) != unit:
            parent[unit] = parent.setdefault(above, above)
            unit = parent[unit]
        return unit

    def join(self, one: str, other: str) -> None:
        self._parent[self.find(other)] = self.find(one)
