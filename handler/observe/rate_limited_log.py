"""A log that repeats no kind of warning more often than once a minute."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 60.0


class RateLimitedLog:
    """Logs each kind of warning at most once a minute, with the number of those that were suppressed meanwhile."""

    def __init__(self, logger: logging.Logger, prefix: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._prefix = prefix
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._suppressed: Counter[str] = Counter()

    def warning(self, kind: str, detail: object) -> None:
        """Log a warning of a kind, or count it when that kind was logged within the last minute."""
        with self._lock:
            now = self._clock()
            if now - self._last.get(kind, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES:
                self._suppressed[kind] += 1
                return
            self._last[kind] = now
            count = self._suppressed.pop(kind, 0)
        more = f" ({count} more like it)" if count else ""
        self._logger.warning("%s%s: %s%s", self._prefix, kind, detail, more)
