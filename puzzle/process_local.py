"""Values of which every process has its own, so that a fork's child does not use those of its parent."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class ProcessLocal(Generic[_Value]):
    """A value per process, created by `create` at its first use in a process.

    For locks, threads and connections: in a fork's child, a lock may be held by a thread that exists in the parent
    only. Process ids are compared at use, as in redis-py, so that nothing has to be registered. The child keeps the
    parent's value, unused: closing a SQLite connection there, for example, would harm the parent.
    """

    def __init__(self, create: Callable[[], _Value]) -> None:
        self._create = create
        self._values: dict[int, _Value] = {}

    def get(self) -> _Value:
        """Return this process's value; threads that call this at the same time get the same one."""
        pid = os.getpid()
        if pid not in self._values:
            self._values.setdefault(pid, self._create())
        return self._values[pid]
