"""Stopwatch that takes a call apart into stages."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

REST = "the gate's rest"
WHOLE = "whole"

# Seconds by stage.
Lap = Mapping[str, float]


class Stopwatch:
    """Sums of seconds by stage. The time of a stage that runs inside another counts for the inner one alone."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._inner = [0.0]

    def timed(self, stage: str, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function` with its time added to a stage."""

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            self._inner.append(0.0)
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.perf_counter() - begun
                self._spent[stage] = self._spent.get(stage, 0.0) + whole - self._inner.pop()
                self._inner[-1] += whole

        return call

    def lap(self, function: Callable[[], object]) -> Lap:
        """Return the seconds of each stage during one call, of the WHOLE call, and of the REST, outside all stages."""
        self._spent = {}
        begun = time.perf_counter()
        function()
        whole = time.perf_counter() - begun
        return {**self._spent, REST: whole - sum(self._spent.values()), WHOLE: whole}
