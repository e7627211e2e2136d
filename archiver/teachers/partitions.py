"""Disjoint, stratified parts of a training set: one a teacher, and one that no teacher sees."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calpow.archiver.payloads import Folder
from calpow.puzzle.errors import CalpowError

# The paper takes 250 for MNIST and SVHN (section 4.1); more make no better vote.
MOST_TEACHERS = 250
UNITS_PER_CLASS = 2
HELD_OUT = 0.1


class PartitionError(CalpowError):
    """The training set cannot be divided among so many teachers."""


@dataclass(frozen=True)
class Partition:
    """The teacher of each payload, counted from 0; HELD_BACK for those that measure accuracy."""

    teachers: int
    owners: tuple[int, ...]


HELD_BACK = -1


def divide(folder: Folder, teachers: int | None, seed: int) -> Partition:
    """Deal each class's units to the teachers in turn, after holding a tenth back.

    Without `teachers`, as many as get two units of each class, up to 250. Raises PartitionError where a teacher
    would lack a class.
    """
    if seed < 0:
        raise PartitionError(f"the seed cannot be {seed}: give a number from 0")
    units = _units_by_class(folder)
    held_back = [max(1, round(HELD_OUT * len(each))) for each in units]
    left = [len(each) - held for each, held in zip(units, held_back, strict=True)]
    scarcest = min(range(len(left)), key=left.__getitem__)
    if teachers is None:
        teachers = max(1, min(MOST_TEACHERS, left[scarcest] // UNITS_PER_CLASS))
    if teachers < 1:
        raise PartitionError(f"there cannot be {teachers} teachers: give at least one")
    if left[scarcest] < teachers:
        raise PartitionError(
            f"class {folder.class_names[scarcest]} has {len(units[scarcest])} payloads, {held_back[scarcest]} of them"
            f" held back: {teachers} teachers need one each; add data or give --teachers {max(1, left[scarcest])}"
        )
    owner_of: dict[str, int] = {}
    rng = np.random.default_rng(seed)
    turn = 0
    for each, held in zip(units, held_back, strict=True):
        shuffled = [each[index] for index in rng.permutation(len(each))]
        owner_of.update(dict.fromkeys(shuffled[:held], HELD_BACK))
        # The turn goes on over classes, so that partitions are of one size.
        for unit in shuffled[held:]:
            owner_of[unit] = turn % teachers
            turn += 1
    return Partition(teachers, tuple(owner_of[payload.unit] for payload in folder.payloads))


def seal(partition: Partition, digests: Sequence[str]) -> tuple[str, ...]:
    """What is recorded of each teacher's data: the SHA-256 of its payloads' sorted SHA-256s, one a line.

    `digests` are the payloads' own. Whoever has the data can tell from it which were whose. Raises PartitionError
    when the same bytes are in two parts, held back or a teacher's.
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


def _units_by_class(folder: Folder) -> Sequence[list[str]]:
    units: list[dict[str, None]] = [{} for _ in folder.class_names]
    for payload in folder.payloads:
        units[payload.label][payload.unit] = None
    return [list(each) for each in units]
