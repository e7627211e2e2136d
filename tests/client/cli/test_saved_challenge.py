"""Saved challenges: read in every form that curl writes, or refused in one line."""

import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.client.cli.saved_challenge import SavedChallenge
from calpow.client.errors import ChallengeTooOld, NothingToSolve
from calpow.puzzle.errors import CalpowError
from tests.support.pow_server import PowServer
from tests.support.saved_responses import dump, expiring_body, header_value, problem_body

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=timezone.utc)
REDIRECT = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.mark.parametrize(
    "line",
    [
        "WWW-Authenticate: {}",
        "www-authenticate:{}",
        "  WWW-Authenticate : {}\r\n",
        "{}",
        'WWW-Authenticate: Basic realm="x", {}',
    ],
)
def test_a_header_is_enough(line: str, server: PowServer) -> None:
    challenge = server.challenge()
    assert SavedChallenge.from_header(line.format(header_value(challenge))).challenge.token == challenge.token


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
@pytest.mark.parametrize("with_body", [True, False])
@pytest.mark.parametrize("before", [b"", REDIRECT, CONTINUE, TUNNEL + CONTINUE])
def test_what_curl_saves_is_read_with_and_without_its_body(
    before: bytes, with_body: bool, line_end: str, server: PowServer
) -> None:
    challenge = server.challenge()
    body = problem_body(challenge) if with_body else b""
    saved = SavedChallenge.from_bytes(before + dump(challenge, body=body, line_end=line_end))
    assert (saved.challenge.token, saved.challenge.puzzle) == (challenge.token, challenge.puzzle)


def test_a_dump_of_http_2_is_read(server: PowServer) -> None:
    challenge = server.challenge()
    data = dump(challenge).replace(b"HTTP/1.1 402 Payment Required", b"HTTP/2 402 ")
    assert SavedChallenge.from_bytes(data).challenge.token == challenge.token


@pytest.mark.parametrize("between", [b"\n", b""])
def test_of_several_responses_the_last_counts(between: bytes, server: PowServer) -> None:
    first, second = server.challenge(), server.challenge()
    data = dump(first, body=problem_body(first)) + between + dump(second, body=problem_body(second))
    assert SavedChallenge.from_bytes(data).challenge == second


def test_a_challenge_that_mentions_http_is_one_response(server: PowServer) -> None:
    challenge = server.challenge()
    body = json.dumps({"detail": "HTTP/1.1 200 OK", "challenge": challenge.to_document()}).encode()
    assert SavedChallenge.from_bytes(body + b"\n").challenge == challenge
    assert SavedChallenge.from_bytes(dump(challenge, body=body) + b"\n").challenge == challenge


def test_a_body_that_a_proxy_replaced_leaves_the_header(server: PowServer) -> None:
    challenge = server.challenge()
    for body in (b"<html>pay</html>", b'{"message": "pay"}', b"[]", b"\xff"):
        assert SavedChallenge.from_bytes(dump(challenge, body=body)).challenge.token == challenge.token


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (CONTINUE + b"HTTP/1.1 200 OK\r\n\r\n7", "the last response has the status 200, not 402: nothing to solve"),
        (b"HTTP/1.1 402 Payment Required\r\n\r\n", "the last response holds no challenge: save it whole"),
    ],
)
def test_a_response_without_a_challenge_has_nothing_to_solve(data: bytes, line: str) -> None:
    with pytest.raises(NothingToSolve, match=line):
        SavedChallenge.from_bytes(data)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"HTTP/1.1 402 x\r\n" + b"a: b\r\n" * 1000 + b"\r\n", "the response's headers cannot be read"),
        (b"HTTP/1.1 402", "a challenge must be a JSON object"),
        (b"", "a challenge must be a JSON object: save the whole body of the 402"),
        (b'{"challenge": 1}', "the challenge is not a JSON object"),
    ],
)
def test_an_unreadable_file_is_reported(data: bytes, line: str) -> None:
    with pytest.raises(CalpowError, match=line):
        SavedChallenge.from_bytes(data)


@given(st.binary() | st.binary().map(lambda data: b"HTTP/1.1 402 x\r\n" + data))
def test_whatever_was_saved_is_read_or_refused_in_one_line(data: bytes) -> None:
    refusal = ""
    try:
        SavedChallenge.from_bytes(data)
    except CalpowError as error:
        refusal = str(error)
    assert "\n" not in refusal


@pytest.mark.parametrize("date", ["yesterday", "", "Thu, 32 Jan 2026 12:00:00 GMT", "0"])
def test_a_date_that_is_none_leaves_this_machine_s_clock(date: str, server: PowServer) -> None:
    data = dump(server.challenge(), date=NOW).replace(format_datetime(NOW, usegmt=True).encode(), date.encode())
    assert SavedChallenge.from_bytes(data).sent is None


@pytest.mark.parametrize("hours", [-30, -1, 1, 30])
def test_with_a_date_this_machine_s_clock_does_not_matter(hours: int, server: PowServer) -> None:
    sent = NOW + timedelta(hours=hours)
    body = expiring_body(server.challenge(), sent + timedelta(minutes=5))
    saved = SavedChallenge.from_bytes(dump(server.challenge(), body=body, date=sent))
    assert saved.seconds_left(200.0, NOW) == 100.0
    with pytest.raises(ChallengeTooOld, match=", by the server's clock: ask for a new one"):
        saved.seconds_left(400.0, NOW)


def test_without_a_date_this_machine_s_clock_decides(server: PowServer) -> None:
    saved = SavedChallenge.from_bytes(expiring_body(server.challenge(), NOW + timedelta(minutes=5)))
    assert saved.seconds_left(400.0, NOW) == 300.0
    with pytest.raises(ChallengeTooOld, match="by this machine's clock, which may be wrong"):
        saved.seconds_left(0.0, NOW + timedelta(minutes=5))
