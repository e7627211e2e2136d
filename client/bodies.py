"""Request bodies that can be sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from calpow.client.errors import BodyNotRewindable


def rewinder(body: object) -> Callable[[], object]:
    """Return a function that takes `body` back to its present position.

    It does nothing for bytes, str, None and collections. Files and streams have to seek, which is tried once here.
    Raises BodyNotRewindable if the body can be read only once.
    """
    if hasattr(body, "read"):
        return _stream_rewinder(body)
    if body is None or isinstance(body, (bytes, bytearray, memoryview, str)):
        return _nothing
    if isinstance(body, Iterable) and not isinstance(body, Iterator):
        return _nothing
    raise not_rewindable(body)


def _stream_rewinder(body: object) -> Callable[[], object]:
    tell: Callable[[], int] | None = getattr(body, "tell", None)
    seek: Callable[[int], object] | None = getattr(body, "seek", None)
    if tell is None or seek is None:
        raise not_rewindable(body)
    try:
        start = tell()
        seek(start)
    except (OSError, ValueError) as error:  # io.UnsupportedOperation is both
        raise not_rewindable(body) from error
    return lambda: seek(start)


def _nothing() -> None:
    pass


def not_rewindable(body: object) -> BodyNotRewindable:
    """Return the error for a body that can be read only once."""
    return BodyNotRewindable(
        f"a body of type {type(body).__name__} can be read only once, and a challenged request is sent twice: "
        "read it into bytes, or give a file that can seek"
    )
