"""Bodies of requests: what can be read twice is sent twice, anything else not at all."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
import requests

from calpow.client import (
    BodyNotRewindable,
    PowAuth,
)
from tests.support.pow_server import PowServer
from tests.support.progress import no_work

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 300


def post(server: PowServer, path: str, body: Any = BODY, **options: Any) -> requests.Response:
    return requests.post(f"{server.url}/{path}", data=body, timeout=30, auth=PowAuth(KEY, **options))


class OnceOnly(io.RawIOBase):
    """A stream like a pipe's."""

    def readable(self) -> bool:
        return True


class Again:
    """A collection of parts, read from the start every time."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([BODY[:1000], BODY[1000:]])


@pytest.mark.parametrize(
    "make",
    [
        lambda: BODY,
        lambda: b"",
        lambda: None,
        lambda: "text",
        lambda: bytearray(BODY),
        lambda: memoryview(BODY),
        lambda: io.BytesIO(BODY),
        lambda: io.StringIO("text"),
        Again,
    ],
    ids=["bytes", "empty", "none", "str", "bytearray", "memoryview", "BytesIO", "StringIO", "iterable"],
)
def test_any_body_that_can_be_read_twice_arrives_twice_the_same(server: PowServer, make: Callable[[], Any]) -> None:
    response = post(server, "paid", make())
    first, second = server.requests
    assert response.status_code == 200
    assert response.content == first.body == second.body
    assert first.headers.get("content-length") == second.headers.get("content-length")


def test_a_file_is_sent_from_where_it_stands(server: PowServer, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(b"header" + BODY)
    with path.open("rb") as file:
        file.seek(6)
        assert post(server, "paid", file).content == BODY
    assert [request.body for request in server.requests] == [BODY, BODY]


def test_an_unbuffered_file_is_rewound_too(server: PowServer) -> None:
    with TemporaryFile(buffering=0) as file:
        file.write(BODY)
        file.seek(0)
        assert post(server, "paid", file).content == BODY


def test_forms_and_multipart_files_are_sent_again_as_they_were(server: PowServer) -> None:
    forms: list[dict[str, Any]] = [{"data": {"a": "b"}}, {"json": {"a": 1}}, {"files": {"data": io.BytesIO(BODY)}}]
    for options in forms:
        response = requests.post(f"{server.url}/paid", auth=PowAuth(KEY), timeout=30, **options)
        first, second = server.requests[-2:]
        assert response.content == first.body == second.body != b""
        assert first.headers["content-type"] == second.headers["content-type"]


@pytest.mark.parametrize("make", [lambda: (part for part in [BODY]), lambda: iter([BODY]), OnceOnly])
def test_a_body_that_can_be_read_once_is_refused_before_anything_is_sent(
    server: PowServer, make: Callable[[], Any]
) -> None:
    with pytest.raises(BodyNotRewindable, match="read it into bytes"):
        post(server, "paid", make(), progress=no_work)
    assert server.requests == []
