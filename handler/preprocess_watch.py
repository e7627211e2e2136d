"""A watch on a handler's `preprocess`, from whose result explanations are priced."""

import copy
from collections.abc import Callable
from functools import wraps


class PreprocessWatch:
    """Replacement of a handler's `preprocess` method, which keeps what the original returns.

    original: the handler's own method, or None when it has none.
    """

    def __init__(self, handler: object) -> None:
        original = getattr(handler, "preprocess", None)
        self.original: Callable[..., object] | None = original if callable(original) else None
        self._result: object = None
        self._calls = 0
        self._watching = False
        if self.original is not None:
            vars(handler)["preprocess"] = self._watched(self.original)

    def begin(self, *, watching: bool) -> None:
        """Begin a pass. With `watching`, keep what `preprocess` returns in it."""
        self._result, self._calls, self._watching = None, 0, watching

    def take(self) -> object:
        """Return what was kept and forget it. Return None unless `preprocess` was called exactly once."""
        result, self._result = self._result, None
        return result

    def _watched(self, original: Callable[..., object]) -> Callable[..., object]:
        @wraps(original)
        def preprocess(*arguments: object, **named: object) -> object:
            result = original(*arguments, **named)
            self._calls += 1
            if self._watching:
                # The last of several results would cover only a part of the request.
                self._result = copy.deepcopy(result) if self._calls == 1 else None
            return result

        return preprocess
