"""Bodies of httpx: what can be read twice is sent twice and not gathered, anything else not at all."""

import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from calpow.client import (
    BodyNotRewindable,
)
from calpow.client.httpx import PowAuth
from tests.support.pow_server import PowServer

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 600


def post(server: PowServer, path: str, **options: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/{path}", auth=PowAuth(KEY), timeout=30, **options)


class Parts:
    """A collection of parts, read from the start every time."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([BODY[:1000], BODY[1000:]])


class AsyncParts:
    """The same for an AsyncClient."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BODY[:1000]
        yield BODY[1000:]


class OnceOnly(io.RawIOBase):
    """A stream like a pipe's."""

    def readable(self) -> bool:
        return True


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"content": BODY},
        lambda: {"content": "text"},
        lambda: {"content": io.BytesIO(BODY)},
        lambda: {"content": Parts()},
        lambda: {"data": {"a": "b"}},
        lambda: {"json": {"a": 1}},
        lambda: {"files": {"data": io.BytesIO(BODY)}},
        lambda: {"files": {"data": BODY}, "data": {"a": "b"}},
        dict,
    ],
    ids=["bytes", "str", "BytesIO", "parts", "form", "json", "file", "files", "empty"],
)
def test_any_body_that_can_be_read_twice_arrives_twice_the_same(
    server: PowServer, make: Callable[[], dict[str, Any]]
) -> None:
    response = post(server, "paid", **make())
    first, second = server.requests
    assert response.status_code == 200
    assert response.content == first.body == second.body
    assert [first.headers.get(name) for name in ("content-length", "content-type")] == [
        second.headers.get(name) for name in ("content-length", "content-type")
    ]


def test_a_file_is_sent_again_when_its_request_is(server: PowServer, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(BODY)
    with path.open("rb") as file, httpx.Client(auth=PowAuth(KEY), timeout=30) as client:
        request = client.build_request("POST", f"{server.url}/paid", content=file)
        for _ in range(2):
            response = client.send(request)
            assert response.status_code == 200
    assert [request.body for request in server.requests] == [BODY] * 4


def test_a_large_file_is_not_gathered_in_memory(server: PowServer, tmp_path: Path) -> None:
    with (tmp_path / "payload").open("w+b") as file:
        file.truncate(1 << 20)
        with httpx.Client(auth=PowAuth(KEY), timeout=30) as client:
            response = client.post(f"{server.url}/paid", content=file)
    assert [len(request.body) for request in server.requests] == [1 << 20] * 2
    with pytest.raises(httpx.RequestNotRead):
        _ = response.request.content


@pytest.mark.parametrize("make", [lambda: (part for part in [BODY]), lambda: map(bytes, [BODY]), OnceOnly])
def test_a_body_that_can_be_read_once_is_refused_before_anything_is_sent(
    server: PowServer, make: Callable[[], Any]
) -> None:
    for options in ({"content": make()}, {"files": {"data": make()}}):
        if "files" in options and not isinstance(options["files"]["data"], io.RawIOBase):
            continue  # httpx takes files alone
        with pytest.raises(BodyNotRewindable, match="read it into bytes"):
            post(server, "paid", **options)
    assert server.requests == []


def test_parts_of_an_asynchronous_body_are_sent_twice(server: PowServer) -> None:
    async def post_once() -> httpx.Response:
        async with httpx.AsyncClient(auth=PowAuth(KEY), timeout=30) as client:
            return await client.post(f"{server.url}/paid", content=AsyncParts())

    assert anyio.run(post_once).content == BODY


def test_an_asynchronous_file_is_refused(server: PowServer, tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(BODY)

    async def post_once() -> None:
        async with httpx.AsyncClient(auth=PowAuth(KEY)) as client, await anyio.open_file(tmp_path / "payload") as file:
            await client.post(f"{server.url}/paid", content=file)  # type: ignore[arg-type]

    with pytest.raises(BodyNotRewindable):
        anyio.run(post_once)
