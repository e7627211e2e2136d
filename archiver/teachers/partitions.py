"""Partitions of a training set: disjoint, stratified, one per teacher, and one held back from all of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from calpow.archiver.data.class_folders import list_names
from calpow.archiver.data.payloads import BadPayloads, PayloadFolder
from calpow.archiver.errors import FolderError, PartitionError
from calpow.archiver.progress import track

# The paper has 250 teachers for MNIST and SVHN (section 4.1); more of them do not improve the vote.
MOST_TEACHERS = 250
# Heads of all teachers for all classes; a worker reads the 6 MB of their weights for each request.
MOST_HEADS = 25_000
# One teacher always agrees with itself: its vote would price every query alike.
FEWEST_TEACHERS = 2
# For advice: with fewer teachers, votes tell little.
GOOD_TEACHERS = 10
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
    """Return the hexadecimal SHA-256 of each payload's bytes. Raises FolderError for all files that cannot be read."""
    digests = []
    bad = BadPayloads()
    for payload in track(folder.payloads, "reading", "payload"):
        try:
            digests.append(hashlib.sha256(payload.path.read_bytes()).hexdigest())
        except OSError as problem:
            bad.add(payload, f"cannot be read: {problem.strerror}")
    bad.check(len(folder.payloads))
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

    By default there are as many teachers as get two units of each class, at most `most_teachers`. Raises
    PartitionError when there would be one teacher only, or a teacher would get no unit of a class.
    """
    if seed < 0:
        raise PartitionError(f"the seed cannot be {seed}: give a number from 0")
    classes = _units_by_class(folder)
    held_back = [_held_back(len(units)) for units in classes]
    left = [len(units) - held for units, held in zip(classes, held_back, strict=True)]
    _check_teachers(folder, [len(units) for units in classes], left, teachers)
    if teachers is None:
        teachers = min(most_teachers(len(classes)), min(left) // UNITS_PER_CLASS)
    owner_of = _deal(classes, held_back, teachers, seed)
    return Partition(teachers, tuple(owner_of[payload.unit] for payload in folder.payloads))


def most_teachers(classes: int) -> int:
    """Return the most teachers that there are by default: 250, or fewer of more than 100 classes, but ten."""
    return max(GOOD_TEACHERS, min(MOST_TEACHERS, MOST_HEADS // classes))


def units_needed(teachers: int, each: int) -> int:
    """Return how many units a class needs, so that every teacher gets `each` of them besides those held back."""
    units = teachers * each
    while units - _held_back(units) < teachers * each:
        units += 1
    return units


def _held_back(units: int) -> int:
    """Return how many of a class's units are held back from all teachers."""
    return max(1, round(HELD_OUT * units))


def _check_teachers(folder: PayloadFolder, units: Sequence[int], left: Sequence[int], teachers: int | None) -> None:
    """Raise PartitionError unless the units left of every class suffice for the teachers, at least two."""
    if teachers is not None and teachers < FEWEST_TEACHERS:
        raise PartitionError(
            f"--teachers {teachers}: give at least {FEWEST_TEACHERS}; one teacher always agrees with itself"
        )
    each = UNITS_PER_CLASS if teachers is None else 1
    wanted = FEWEST_TEACHERS if teachers is None else teachers
    short = [index for index, count in enumerate(left) if count < wanted * each]
    if not short:
        return
    fewest = min(short, key=left.__getitem__)
    names = list_names([folder.class_names[index] for index in short], "class")
    needed = units_needed(wanted, each)
    if teachers is None:
        good = units_needed(GOOD_TEACHERS, UNITS_PER_CLASS)
        advice = f"give at least {needed} of each class; with {good}, there are {GOOD_TEACHERS} teachers"
    elif min(left) >= FEWEST_TEACHERS:
        advice = f"give at least {needed} of each class, or --teachers {min(left)}"
    else:
        advice = f"give at least {needed} of each class"
    raise PartitionError(
        f"too few payloads for {wanted} teachers in {names}: class {folder.class_names[fewest]} has {units[fewest]},"
        f" the files of a sub-folder and copies counted once, and {units[fewest] - left[fewest]} of them held back:"
        f" {advice}"
    )


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


def are_parts_of(folder: PayloadFolder, digests: Sequence[str], seed: int) -> bool:
    """Return whether teachers of these `partition_digests` were trained on just this folder, divided with `seed`."""
    own = payload_digests(folder)
    try:
        partition = divide(keep_copies_together(folder, own), len(digests), seed)
        return partition_digests(partition, own) == tuple(digests)
    except (FolderError, PartitionError):  # training would have failed
        return False


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
