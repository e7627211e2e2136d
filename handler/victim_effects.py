"""Effects of a run of the victim that can be undone: changes of its Python objects, and the metrics that it counted."""

import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import is_
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from torch import nn

from calpow.handler.metrics.reporter import THREAD_NAME as REPORTING

# TorchServe's metrics are lines of the worker's output, written by this logger.
METRICS_LOGGER = "ts.metrics.caching_metric"
# A container with more entries is taken for a table, such as a vocabulary, which no request changes.
MOST_ENTRIES = 1_000
# The most objects of which contents are saved, which bounds the time of saving to a millisecond or two.
MOST_OBJECTS = 1_000

_UNCHANGING = {type(None), bool, int, float, str, bytes}
_CONTAINERS = (list, dict, set, deque, bytearray)


class VictimEffects:
    """Undoes what a run of the victim left behind, so that another run finds everything as it was before.

    Saved are the attributes of `roots`, the global names of `modules`, and what is reached from them through plain
    containers and through objects and classes of `modules`. Metrics are held back. Not undone are tensors and arrays
    that were changed in place, iterators, objects of other libraries, and files. Decision 0038.
    """

    def __init__(self, roots: Iterable[object], modules: Sequence[ModuleType]) -> None:
        self._roots = [*roots, *modules]
        self._own = {module.__name__ for module in modules}

    @contextmanager
    def trial(self) -> Iterator["Trial"]:
        """Run a block whose effects are undone at its end, unless it calls `keep`."""
        saved = self._save()
        trial = Trial()
        metrics = _HeldRecords()
        logger = logging.getLogger(METRICS_LOGGER)
        logger.addFilter(metrics)
        try:
            yield trial
        finally:
            logger.removeFilter(metrics)
            if trial.kept:
                for record in metrics.records:
                    logger.handle(record)
            else:
                for holder, contents in saved:
                    # One that refuses must not keep the others as they are, nor fail the whole batch.
                    with contextlib.suppress(Exception):
                        _restore(holder, contents)

    def _save(self) -> list[tuple[object, object]]:
        """Return the objects that may change, those next to the roots first, each with a shallow copy."""
        saved: list[tuple[object, object]] = []
        waiting, known = deque(self._roots), set(map(id, self._roots))
        while waiting and len(saved) < MOST_OBJECTS:
            holder = waiting.popleft()
            try:
                contents = _copy(holder)
            except Exception:  # noqa: S112  # a container of the victim's own, which may do anything when it is read
                continue
            saved.append((holder, contents))
            for value in contents.values() if isinstance(contents, Mapping) else contents:
                if type(value) not in _UNCHANGING and id(value) not in known and self._may_change(value):
                    known.add(id(value))
                    waiting.append(value)
        return saved

    def _may_change(self, value: object) -> bool:
        try:
            return self._is_saved(value)
        except Exception:  # what stands for another object may fail at any question
            return False

    def _is_saved(self, value: object) -> bool:
        if isinstance(value, _CONTAINERS):
            return len(value) <= MOST_ENTRIES
        if isinstance(value, nn.Module | ModuleType):
            return False
        kind = value if isinstance(value, type) else type(value)
        return hasattr(value, "__dict__") and (kind.__module__ in self._own or kind is SimpleNamespace)


class Trial:
    """A run of the victim that is undone unless it is kept."""

    def __init__(self) -> None:
        self.kept = False

    def keep(self) -> None:
        """Leave the effects of the run as they are."""
        self.kept = True


class _HeldRecords(logging.Filter):
    """A filter that passes no record of a logger but those of the gate's own metrics, and keeps the others."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if record.threadName == REPORTING:
            return True
        self.records.append(record)
        return False


def own_modules(entry: ModuleType | None, modules: Mapping[str, ModuleType]) -> list[ModuleType]:
    """Return the module of the victim's entry point and those of `modules` that lie in the same folder or below."""
    file = getattr(entry, "__file__", None)
    if entry is None or not isinstance(file, str):
        return []
    folder = Path(file).parent
    paths = [(module, getattr(module, "__file__", None)) for module in list(modules.values())]
    return [module for module, path in paths if isinstance(path, str) and Path(path).is_relative_to(folder)]


def _copy(holder: object) -> Mapping[Any, object] | Sequence[object] | set[object]:
    if isinstance(holder, dict):
        return dict(holder)
    if isinstance(holder, set):
        return set(holder)
    if isinstance(holder, list | deque | bytearray):
        return list(holder)
    return dict(vars(holder))


def _restore(holder: object, contents: object) -> None:
    # What has not changed is left alone: other threads may be reading it, and some attributes cannot be set.
    if isinstance(holder, list | deque | bytearray):
        if isinstance(contents, list) and not _same_entries(holder, contents):
            holder.clear()
            holder.extend(contents)
    elif isinstance(holder, set):
        if isinstance(contents, set) and holder != contents:
            holder.clear()
            holder.update(contents)
    elif isinstance(contents, dict):
        _restore_names(holder, contents)


def _same_entries(holder: Sequence[object], contents: Sequence[object]) -> bool:
    return len(holder) == len(contents) and all(map(is_, holder, contents))


def _restore_names(holder: object, contents: dict[Any, object]) -> None:
    """Restore a dictionary, or the attributes of an object, a module or a class."""
    names: Any = holder if isinstance(holder, dict) else vars(holder)
    for name in list(names):
        if name not in contents:
            delattr(holder, name) if isinstance(holder, type) else names.pop(name)
    for name, value in contents.items():
        if name not in names or names[name] is not value:
            setattr(holder, name, value) if isinstance(holder, type) else names.__setitem__(name, value)
