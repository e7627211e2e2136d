"""HTTP responses as bytes (RFC 9112, section 2.1), for a transport that has neither statuses nor headers: gRPC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

_BEGINNING = re.compile(rb"HTTP/1\.1 (\d{3}) ([^\r\n]*)\r\n")
_MAX_HEAD_LENGTH = 1 << 16


class HttpMessage(NamedTuple):
    """A response. `headers` are by their names in lower case."""

    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes


def write_message(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a response as bytes. Line breaks in values become spaces, and characters beyond Latin-1 `?`."""
    phrase = HTTPStatus(status).phrase if status in {known.value for known in HTTPStatus} else ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {_in_one_line(value)}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1", "replace") + body


def read_message(data: bytes) -> HttpMessage | None:
    """Return the response in `data`, or None where there is none."""
    beginning = _BEGINNING.match(data)
    end = data.find(b"\r\n\r\n", 0, _MAX_HEAD_LENGTH)
    if beginning is None or end < 0:
        return None
    lines = data[beginning.end() : end].decode("latin-1").split("\r\n")
    fields = [line.partition(":") for line in lines if line]
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    return HttpMessage(int(beginning[1]), beginning[2].decode("latin-1"), headers, data[end + 4 :])


def _in_one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")
