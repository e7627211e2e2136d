"""Refusals of hostile input: a named error in one short line, at once."""

import time
from collections.abc import Callable

import pytest

from calpow.puzzle.errors import PuzzleError

# Nobody must be able to keep a process busy with a text that is refused. Measured is the time of the processor, so that
# other programs on the machine do not count.
AT_ONCE_SECONDS = 0.5


def refused_at_once(action: Callable[[], object], error: type[PuzzleError], message: str = ".") -> None:
    """Check that the action raises the error soon, with a message of one short line that matches `message`."""
    start = time.process_time()
    with pytest.raises(error, match=message) as caught:
        action()
    assert time.process_time() - start < AT_ONCE_SECONDS
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
