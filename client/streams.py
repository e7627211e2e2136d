"""Streams of httpx requests that can be sent again. Separate from `bodies`, which must not import httpx."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import httpx

from calpow.client.bodies import not_rewindable, rewinder

Stream = httpx.SyncByteStream | httpx.AsyncByteStream


class _RewindingStream(httpx.SyncByteStream):
    """A stream that begins anew each time it is read, also when httpx sends it to the target of a redirect."""

    def __init__(self, stream: httpx.SyncByteStream, rewind: Callable[[], object]) -> None:
        self._stream = stream
        self._rewind = rewind

    def __iter__(self) -> Iterator[bytes]:
        self._rewind()
        yield from self._stream

    def close(self) -> None:
        self._stream.close()


def rewinding_stream(stream: Stream) -> Stream:
    """Return a request's stream as one that can be read any number of times. Raises BodyNotRewindable.

    httpx offers no public way from a stream to the body that it was made of, hence the private names. A stream that is
    not httpx's own is taken for a collection of parts, which can be read again.
    """
    if isinstance(stream, httpx.ByteStream | _RewindingStream):
        return stream
    for field in getattr(stream, "fields", ()):  # multipart: httpx itself rewinds the files that can seek
        rewinder(getattr(field, "file", b""))
    body = getattr(stream, "_stream", None)
    if body is None:
        return stream
    if isinstance(stream, httpx.SyncByteStream):
        return _RewindingStream(stream, rewinder(body))
    if isinstance(body, AsyncIterator) or hasattr(body, "read") or hasattr(body, "aread"):
        raise not_rewindable(body)
    return stream
