"""A reply is read without trust: what is unreadable or absurd in it is not there."""

from datetime import timedelta
from email.utils import format_datetime

import pytest

from calpow.client.errors import ChallengeUnreadable
from calpow.client.reply import Reply, needs_body, one_line, reason_of
from tests.support.replies import NOW, REALM, challenge, demand


def test_a_challenge_is_read_in_the_body_or_else_in_the_header() -> None:
    reply = demand()
    assert reply.challenge == challenge()
    assert Reply(402, reply.headers).realm == reply.realm == REALM
    assert Reply(200, reply.headers, reply.body).challenge is None
    with pytest.raises(ChallengeUnreadable):  # the claims of this token say no more than its id
        _ = Reply(402, reply.headers).challenge


def test_a_reply_is_parsed_once() -> None:
    reply = demand()
    assert reply.challenge is reply.challenge
    assert reply.date is reply.date


def test_only_the_problems_of_this_protocol_have_names() -> None:
    assert demand("more-required").problem == "more-required"
    for body in (b"", b"[]", b'{"type": 7}', b'{"type": "about:blank"}', b"[" * 50_000):
        assert Reply(402, {}, body).problem is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"detail": "too\\nmuch", "title": "No"}', "too much"),
        (b'{"code": 404, "message": "Model not found:\\u001b"}', "Model not found:?"),
        (b'{"detail": " ", "title": "No"}', "No"),
        (b'{"detail": 7}', "Bad Request"),
        (b"not JSON", "Bad Request"),
        (b'{"detail": "' + b"x" * 301 + b'"}', "x" * 300 + "..."),
    ],
)
def test_the_reason_is_one_printable_line(body: bytes, reason: str) -> None:
    assert Reply(400, {}, body, "Bad Request").reason == reason_of(body, "Bad Request") == reason
    assert one_line(reason) == reason


def test_without_any_word_of_the_server_there_is_no_reason() -> None:
    assert reason_of(b"", "") == "no reason given"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        (" 0 ", 0),
        pytest.param(format_datetime(NOW + timedelta(seconds=9), usegmt=True), 9, id="a date"),
        pytest.param(format_datetime(NOW - timedelta(seconds=9), usegmt=True), 0, id="a date gone by"),
        *[(text, None) for text in ("", "-1", "1.5", "\u0663", "9" * 30, "Sun")],
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    reply = Reply(503, {"retry-after": text, "date": format_datetime(NOW, usegmt=True)})
    assert reply.retry_after(NOW + timedelta(hours=1)) == seconds
    without_date = Reply(503, {"retry-after": text})
    assert without_date.retry_after(NOW) == seconds


@pytest.mark.parametrize(
    "text", ["Mon, 01 Jan 1066 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 99 Jan 99999 99:99:99 GMT", ""]
)
def test_a_date_out_of_all_reason_is_none(text: str) -> None:
    assert Reply(200, {"date": text}).date is None


def test_the_announced_price_is_a_number_of_at_most_18_digits() -> None:
    assert Reply(200, {"pow-next": "1024"}).next_hashes == 1024
    for text in ("", "-1", "1.5", "\u0663", "9" * 19):
        assert Reply(200, {"pow-next": text}).next_hashes is None


def test_a_reply_knows_whether_its_request_was_prepaid() -> None:
    solutions = ("prepaid 1:4:x", "e30.e30.c2ln 1:4:x", None)
    assert [Reply(402, {}, solution=solution).was_prepaid for solution in solutions] == [True, False, False]


def test_only_refusals_that_the_protocol_reads_have_their_bodies_read() -> None:
    assert [status for status in range(100, 600) if needs_body(status)] == [401, 402]
