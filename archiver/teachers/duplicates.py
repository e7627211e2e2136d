"""Copies of one payload in a training set: they must not land with different teachers."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from tqdm import tqdm

from calpow.archiver.payloads import Folder, FolderError


def payload_digests(folder: Folder) -> list[str]:
    """The SHA-256 of each payload's bytes, in hexadecimal. Raises FolderError when a file cannot be read."""
    digests = []
    for payload in tqdm(folder.payloads, desc="reading", unit="payload", disable=None):
        try:
            digests.append(hashlib.sha256(payload.path.read_bytes()).hexdigest())
        except OSError as problem:
            raise FolderError(f"{payload.path} cannot be read: {problem.strerror}") from problem
    return digests


def keep_copies_together(folder: Folder, digests: Sequence[str]) -> Folder:
    """The same payloads, with units that share a payload's bytes made one.

    Raises FolderError when the same bytes lie in two classes.
    """
    joined = _Joined()
    first: dict[str, int] = {}
    for index, (payload, digest) in enumerate(zip(folder.payloads, digests, strict=True)):
        original = folder.payloads[first.setdefault(digest, index)]
        if original.label != payload.label:
            raise FolderError(
                f"{original.path} and {payload.path} hold the same bytes in two classes: remove one of them"
            )
        joined.join(original.unit, payload.unit)
    return replace(folder, payloads=tuple(replace(each, unit=joined.find(each.unit)) for each in folder.payloads))


class _Joined:
    """Disjoint sets of units, each named by its first."""

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
