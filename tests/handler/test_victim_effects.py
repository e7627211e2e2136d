"""A trial of the victim: what it left behind is undone unless it is kept, wherever Python let it leave something."""

import logging
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import nn

from calpow.handler.victim_effects import METRICS_LOGGER, VictimEffects, own_modules

counted = 0
cache: dict[str, list[int]] = {"known": [1]}


class Helper:
    shared: ClassVar[list[int]] = []
    total = 0

    def __init__(self) -> None:
        self.sizes: deque[int] = deque(maxlen=3)


class Handler:
    def __init__(self) -> None:
        self.model = nn.Linear(2, 2)
        self.last: object = None
        self.sizes: list[int] = []
        self.labels = {str(number): [number] for number in range(20)}
        self.helpers = [Helper()]
        self.helper = Helper()
        self.ids = {1, 2}
        self.counter: Counter[str] = Counter()
        self.order: OrderedDict[str, int] = OrderedDict(a=1, b=2)
        self.groups: defaultdict[str, list[int]] = defaultdict(list)
        self.buffer = bytearray(b"ab")
        self.options = SimpleNamespace(turn=1)


def count_globally(handler: Handler) -> None:
    global counted
    counted += 1
    cache["known"].append(2)
    cache["new"] = []


def count_on_classes(handler: Handler) -> None:
    Helper.shared.append(1)
    Helper.total += 1
    Helper.extra = True  # type: ignore[attr-defined]


CHANGES: dict[str, Callable[[Handler], object]] = {
    "an attribute": lambda handler: setattr(handler, "last", "picture"),
    "a new attribute": lambda handler: setattr(handler, "fresh", 1),
    "a deleted attribute": lambda handler: delattr(handler, "last"),
    "a list": lambda handler: handler.sizes.append(20),
    "a dictionary": lambda handler: handler.labels["3"].pop(),
    "an object in a list": lambda handler: handler.helpers[0].sizes.append(3),
    "a held object": lambda handler: setattr(handler.helper, "seen", 1),
    "a set": lambda handler: handler.ids.add(3),
    "a counter": lambda handler: handler.counter.update(["a"]),
    "an ordered dictionary": lambda handler: handler.order.popitem(),
    "a default dictionary": lambda handler: handler.groups["new"].append(1),
    "bytes": lambda handler: handler.buffer.extend(b"c"),
    "a namespace": lambda handler: setattr(handler.options, "turn", 2),
    "global names": count_globally,
    "classes": count_on_classes,
}


def state(handler: Handler) -> str:
    """Return all that a handler of this module keeps, as text."""
    attributes = sorted((name, repr(value)) for name, value in vars(handler).items() if "help" not in name)
    helpers = [vars(helper) for helper in (*handler.helpers, handler.helper)]
    classes = [Helper.shared, Helper.total, hasattr(Helper, "extra")]
    return repr((attributes, helpers, classes, counted, cache))


def effects(handler: object) -> VictimEffects:
    return VictimEffects([handler], [sys.modules[__name__]])


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_trial_undoes_what_it_changed_unless_it_is_kept(change: Callable[[Handler], object]) -> None:
    handler = Handler()
    before = state(handler)
    with effects(handler).trial():
        with effects(handler).trial() as trial:
            change(handler)
            trial.keep()
        assert state(handler) != before
    assert state(handler) == before


def test_a_trial_that_raises_is_undone() -> None:
    handler = Handler()

    def fail() -> None:
        handler.sizes.append(1)
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"), effects(handler).trial():
        fail()
    assert handler.sizes == []


def test_metrics_of_a_trial_are_counted_only_if_it_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    metrics, other = logging.getLogger(METRICS_LOGGER), logging.getLogger("victim")
    with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, METRICS_LOGGER):
        for is_kept in (False, True):
            with effects(Handler()).trial() as trial:
                metrics.info("[METRICS]answers.Count:1, kept %s", is_kept)
                other.info("a line of its own")
                if is_kept:
                    trial.keep()
        metrics.info("afterwards")
    assert [record.getMessage() for record in caplog.records] == [
        "a line of its own",
        "a line of its own",
        "[METRICS]answers.Count:1, kept True",
        "afterwards",
    ]


def test_models_and_tables_are_left_alone() -> None:
    handler = Handler()
    handler.labels |= {str(number): [number] for number in range(50_000)}
    with effects(handler).trial():
        handler.labels["new"] = []
        with torch.no_grad():
            handler.model.weight.zero_()
    assert "new" in handler.labels
    assert not handler.model.weight.any()


def test_the_victims_own_modules_are_those_in_the_folder_of_its_entry_point() -> None:
    modules = own_modules(sys.modules[__name__], sys.modules)
    assert sys.modules[__name__] in modules
    assert torch not in modules
    assert own_modules(None, sys.modules) == []
    assert own_modules(sys.modules["builtins"], sys.modules) == []


class Expiring(dict[str, int]):
    """A cache whose entries have all expired."""

    def __iter__(self) -> Iterator[str]:
        return iter(list(super().keys()))

    def __getitem__(self, name: str) -> int:
        raise KeyError(name)


class Closed(list[int]):
    def __len__(self) -> int:
        raise RuntimeError("closed")


class ReadOnly(dict[str, int]):
    def __setitem__(self, name: str, value: int) -> None:
        raise TypeError("read-only")


class Unready:
    """It stands for an object that cannot be had yet."""

    @property  # type: ignore[misc]  # as proxies of libraries have it
    def __class__(self) -> type:
        raise RuntimeError("not ready")


@pytest.mark.parametrize("kind", [lambda: Expiring(a=1), lambda: Closed([1]), Unready, lambda: ReadOnly(a=1)])
def test_objects_that_refuse_to_be_read_or_put_back_spoil_nothing(kind: Callable[[], object]) -> None:
    handler = SimpleNamespace(first=kind(), sizes=[])
    with effects(handler).trial():
        handler.sizes.append(1)
        if type(handler.first) is ReadOnly:
            handler.first.clear()
    assert handler.sizes == []
