"""Bodies of httpx requests that can be sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import httpx

from calpow.client.bodies import not_rewindable, rewinder

Stream = httpx.SyncByteStream | httpx.AsyncByteStream


class _Rewinding(httpx.SyncByteStream):
    """A stream that begins anew every time it is read; also for a redirect, which httpx sends the same stream to."""

    def __init__(self, stream: httpx.SyncByteStream, rewind: Callable[[], object]) -> None:
        self._whole = stream
        self._rewind = rewind

    def __iter__(self) -> Iterator[bytes]:
        self._rewind()
        yield from self._whole

    def close(self) -> None:
        self._whole.close()


def rewinding(stream: Stream) -> Stream:
    """The stream of a request, made to be read any number of times. Raises BodyNotRewindable.

    httpx has no public way from the stream of a request to the body that it was made of, hence the private names;
    a stream of another make is taken to be what the protocol of streams says, a collection of parts.
    """
    if isinstance(stream, httpx.ByteStream | _Rewinding):
        return stream
    for field in getattr(stream, "fields", ()):  # multipart: httpx rewinds the files by itself, if they can
        rewinder(getattr(field, "file", b""))
    body = getattr(stream, "_stream", None)
    if body is None:
        return stream
    if isinstance(stream, httpx.SyncByteStream):
        return _Rewinding(stream, rewinder(body))
    if isinstance(body, AsyncIterator) or hasattr(body, "read") or hasattr(body, "aread"):
        raise not_rewindable(body)
    return stream
