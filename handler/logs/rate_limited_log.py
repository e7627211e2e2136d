"""A log that repeats no kind of message more often than once a minute."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 60.0


class RateLimitedLog:
    """Logs each kind of message at most once a minute, with the number of those that were suppressed meanwhile."""

    def __init__(self, logger: logging.Logger, prefix: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._prefix = prefix
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._suppressed: Counter[str] = Counter()

    def warning(self, kind: str, detail: object) -> None:
        """Log a warning of a kind, or count it when that kind was logged within the last minute."""
        self._log(logging.WARNING, kind, detail)

    def error(self, kind: str, detail: object) -> None:
        """Log an error of a kind, or count it when that kind was logged within the last minute."""
        self._log(logging.ERROR, kind, detail)

    def _log(self, level: int, kind: str, detail: object) -> None:
        with self._lock:
            now = self._clock()
            if now - self._last.get(kind, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES:
                self._suppressed[kind] += 1
                return
            self._last[kind] = now
            count = self._suppressed.pop(kind, 0)
        more = f" ({count} more like it)" if count else ""
        self._logger.log(level, "%s%s: %s%s", self._prefix, kind, detail, more)
