"""A file of the operator that may change while workers run."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from calpow.handler.errors import GateMisconfigured, IdentityFileError

Value = TypeVar("Value")

# A change takes effect after this time at the latest.
SECONDS_BETWEEN_LOOKS = 1.0
MOST_BYTES = 1 << 20

log = logging.getLogger(__name__)


class WatchedFile(Generic[Value]):
    """A file that is parsed again when it has changed. While it cannot be used, its last good value stays.

    parse: returns the value of the file's bytes, or raises IdentityFileError.
    """

    def __init__(
        self, path: Path, parse: Callable[[bytes], Value], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the file. Raises GateMisconfigured when it cannot be used, because there is no good value yet."""
        self._path = path
        self._parse = parse
        self._clock = clock
        self._version = _version(path)
        self._looked = clock()
        try:
            self._value = self._read()
        except IdentityFileError as error:
            raise GateMisconfigured(f"{path} cannot be used: {error}") from error

    def value(self) -> Value:
        """Return the value, of a file that has changed no more than SECONDS_BETWEEN_LOOKS ago at the latest.

        The same object comes again while the file has not changed.
        """
        now = self._clock()
        if now - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = now
            self._look()
        return self._value

    def _look(self) -> None:
        version = _version(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self._value = self._read()
        except IdentityFileError as error:
            log.error("calpow: %s cannot be used, what it held before stays in force: %s", self._path, error)
        else:
            log.warning("calpow: %s has changed and is in force", self._path)

    def _read(self) -> Value:
        try:
            with self._path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise IdentityFileError(error.strerror or "it cannot be read") from error
        if len(content) > MOST_BYTES:
            raise IdentityFileError(f"it has more than {MOST_BYTES} bytes")
        return self._parse(content)


def _version(path: Path) -> tuple[int, int, int] | None:
    """Return what differs between versions of a file; None where there is none. Links are followed."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
