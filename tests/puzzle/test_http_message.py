"""A reply by gRPC is read as it was written, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.puzzle.http_message import read_message, write_message


@given(
    status=st.sampled_from((200, 402, 513, 599)),
    headers=st.dictionaries(st.from_regex(r"[a-z][a-z-]{0,9}", fullmatch=True), st.text("ab =:,;\"'", max_size=20)),
    body=st.binary(),
)
def test_what_was_written_is_read(status: int, headers: dict[str, str], body: bytes) -> None:
    message = read_message(write_message(status, headers, body))
    assert message is not None
    assert (message.status, message.body) == (status, body)
    assert message.headers == {name: value.strip() for name, value in headers.items()}


@given(st.text(max_size=40))
def test_no_value_adds_a_header_or_a_body(value: str) -> None:
    message = read_message(write_message(200, {"PoW-Next": value}, b"body"))
    assert message is not None
    assert set(message.headers) == {"pow-next"}
    assert message.body == b"body"


@pytest.mark.parametrize(
    "data", [b"", b"[0.1]", b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"\r\n\r\n"]
)
def test_an_answer_is_no_reply(data: bytes) -> None:
    assert read_message(data) is None


@given(st.binary())
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    read_message(b"HTTP/1.1 200 OK\r\n" + data)
