"""calpow solve: a challenge however it was saved, nothing solved in vain."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.client.cli import main as cli
from calpow.client.cli.saved import Saved
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.wire import Challenge, www_authenticate
from tests.support.pow_server import NO_LIMITS, PowServer, running
from tests.support.terminals import read_until, terminal

BODY = b"payload"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=timezone.utc)


@pytest.fixture
def server() -> Iterator[PowServer]:
    with running(PowServer()) as server:
        yield server


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def problem(challenge: Challenge) -> bytes:
    return json.dumps({"status": 402, "challenge": challenge.to_document()}, indent=1).encode()


def response(challenge: Challenge, *, body: bytes = b"", date: datetime | None = None, ends: str = "\r\n") -> bytes:
    """What curl writes of a 402 over HTTP/1.1."""
    headers = ["HTTP/1.1 402 Payment Required", "content-length: 1", f"www-authenticate: {offer(challenge)}"]
    if date is not None:
        headers.append(f"date: {format_datetime(date, usegmt=True)}")
    return ends.join([*headers, "", ""]).encode() + body


def offer(challenge: Challenge) -> str:
    return www_authenticate("digits@9f2c41", challenge.token)


def expiring(challenge: Challenge, when: datetime) -> bytes:
    """The body of a challenge that says it expires then."""
    return problem(replace(challenge, expires=when.replace(microsecond=0)))


def solution(out: str) -> str:
    name, _, value = out.rstrip("\n").partition(": ")
    assert name == "PoW-Solution"
    return value


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("calpow: ")
    assert err.count("\n") == 1
    return err[len("calpow: ") : -1]


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
def test_a_header_is_enough(line: str, server: PowServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["solve", "--header", line.format(offer(server.challenge()))]) == 0
    assert server.objection(solution(capsys.readouterr().out), BODY) is None


REDIRECT = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.mark.parametrize("ends", ["\r\n", "\n"])
@pytest.mark.parametrize("with_body", [True, False])
@pytest.mark.parametrize("before", [b"", REDIRECT, CONTINUE, TUNNEL + CONTINUE])
def test_what_curl_saves_is_read_with_and_without_its_body(
    before: bytes, with_body: bool, ends: str, server: PowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    challenge = server.challenge()
    Path("c").write_bytes(before + response(challenge, body=problem(challenge) if with_body else b"", ends=ends))
    assert cli.main(["solve", "c"]) == 0
    assert server.objection(solution(capsys.readouterr().out), BODY) is None


def test_a_dump_of_http_2_is_read(server: PowServer) -> None:
    challenge = server.challenge()
    dump = response(challenge).replace(b"HTTP/1.1 402 Payment Required", b"HTTP/2 402 ")
    assert Saved.from_bytes(dump).challenge.token == challenge.token


@pytest.mark.parametrize("between", [b"\n", b""])
def test_of_several_responses_the_last_counts(between: bytes, server: PowServer) -> None:
    first, second = server.challenge(), server.challenge()
    dump = response(first, body=problem(first)) + between + response(second, body=problem(second))
    assert Saved.from_bytes(dump).challenge == second


def test_a_challenge_that_talks_of_http_is_one_response(server: PowServer) -> None:
    challenge = server.challenge()
    body = json.dumps({"detail": "HTTP/1.1 200 OK", "challenge": challenge.to_document()}).encode()
    assert Saved.from_bytes(body + b"\n").challenge == challenge
    assert Saved.from_bytes(response(challenge, body=body) + b"\n").challenge == challenge


def test_a_body_that_a_proxy_replaced_leaves_the_header(server: PowServer) -> None:
    challenge = server.challenge()
    for body in (b"<html>pay</html>", b'{"message": "pay"}', b"[]", b"\xff"):
        assert Saved.from_bytes(response(challenge, body=body)).challenge.token == challenge.token


@pytest.mark.parametrize(
    ("dump", "line"),
    [
        (CONTINUE + b"HTTP/1.1 200 OK\r\n\r\n7", "the last response has the status 200, not 402: nothing to solve"),
        (b"HTTP/1.1 402 Payment Required\r\n\r\n", "the last response holds no challenge: save it whole"),
        (b"HTTP/1.1 402 x\r\n" + b"a: b\r\n" * 1000 + b"\r\n", "the response's headers cannot be read"),
        (b"HTTP/1.1 402", "a challenge must be a JSON object"),
        (b"", "a challenge must be a JSON object: save the whole body of the 402"),
        (b'{"challenge": 1}', "the challenge is not a JSON object"),
    ],
)
def test_what_holds_no_challenge_is_one_line(
    dump: bytes, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, dump)
    assert cli.main(["solve", "-"]) == 2
    assert refusal(capsys).startswith(line)


def test_a_dump_of_beginnings_of_responses_is_refused_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(CalpowError):
        Saved.from_bytes(b"HTTP/1.1 402 x\r\n\r\n" + b"}HTTP/1 402 " * 10_000)
    assert time.monotonic() - began < 2.0


@given(st.binary() | st.binary().map(lambda data: b"HTTP/1.1 402 x\r\n" + data))
def test_whatever_was_saved_is_read_or_refused_in_one_line(data: bytes) -> None:
    refusal = ""
    try:
        Saved.from_bytes(data)
    except CalpowError as error:
        refusal = str(error)
    assert "\n" not in refusal


def test_an_expired_challenge_is_not_solved_and_the_clock_is_doubted(
    server: PowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c").write_bytes(expiring(server.challenge(bits=28), NOW))
    assert cli.main(["solve", "c"]) == 2
    assert refusal(capsys) == (
        "the challenge expired at 2026-01-15 12:00:00 UTC, by this machine's clock, which may be wrong: "
        "ask for a new one"
    )


@pytest.mark.parametrize("hours", [-30, -1, 1, 30])
def test_with_a_date_this_machine_s_clock_does_not_matter(
    hours: int, server: PowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = datetime.now(timezone.utc) + timedelta(hours=hours)
    challenge = server.challenge()
    Path("c").write_bytes(
        response(challenge, body=expiring(challenge, sent + timedelta(minutes=1)), date=sent),
    )
    assert cli.main(["solve", "c"]) == 0
    Path("c").write_bytes(
        response(challenge, body=expiring(challenge, sent - timedelta(minutes=1)), date=sent),
    )
    capsys.readouterr()
    assert cli.main(["solve", "c"]) == 2
    assert ", by the server's clock: ask for a new one" in refusal(capsys)


def test_a_dump_ages_with_its_file(server: PowServer, capsys: pytest.CaptureFixture[str]) -> None:
    challenge = server.challenge()
    sent = NOW + timedelta(days=5000)  # by a clock that is no matter
    Path("c").write_bytes(response(challenge, body=expiring(challenge, sent + timedelta(minutes=5)), date=sent))
    for age, code in ((200, 0), (400, 2)):
        os.utime("c", (time.time() - age, time.time() - age))
        assert cli.main(["solve", "c"]) == code
    assert ", by the server's clock: ask for a new one" in capsys.readouterr().err


@pytest.mark.parametrize("date", ["yesterday", "", "Thu, 32 Jan 2026 12:00:00 GMT", "0"])
def test_a_date_that_is_none_leaves_this_machine_s_clock(date: str, server: PowServer) -> None:
    challenge = server.challenge()
    dump = response(challenge, date=NOW).replace(format_datetime(NOW, usegmt=True).encode(), date.encode())
    assert Saved.from_bytes(dump).sent is None


def test_an_absurd_challenge_is_refused_at_once(server: PowServer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c").write_bytes(problem(server.challenge(bits=40)))
    began = time.monotonic()
    assert cli.main(["solve", "c"]) == 2
    assert time.monotonic() - began < 2.0
    assert "more than the limit of 4,294,967,296: raise" in refusal(capsys)


def test_what_cannot_be_solved_before_it_expires_is_not_solved(
    server: PowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=3)
    Path("c").write_bytes(expiring(server.challenge(bits=40), soon))
    assert cli.main(["solve", "c", "--max-hashes", str(2**50)]) == 2
    assert datetime.now(timezone.utc) < soon + timedelta(seconds=2)
    assert " s here and expires in " in refusal(capsys)


def test_max_seconds_ends_it(server: PowServer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c").write_bytes(problem(server.challenge(bits=40)))
    began = time.monotonic()
    assert cli.main(["solve", "c", "--max-hashes", str(2**50), "--max-seconds", "0.5"]) == 2
    assert time.monotonic() - began < 5.0
    assert "more than the 0.5 s allowed" in refusal(capsys)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_limits_are_numbers_above_0(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--max-hashes", "--max-seconds"):
        with pytest.raises(SystemExit) as caught:
            cli.main(["solve", "c", f"{option}={value}"])
        assert caught.value.code == 2
        assert repr(value) in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["c", "--header", "x"]])
def test_one_challenge_is_wanted(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["solve", *arguments])
    assert caught.value.code == 2


def test_an_interrupt_ends_it_at_once_without_a_terminal_too(server: PowServer) -> None:
    server.lifetime = 1e8
    Path("c").write_bytes(problem(server.challenge(bits=40)))
    command = [sys.executable, "-m", "calpow.client", "solve", "c", *NO_LIMITS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        time.sleep(2.0)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"calpow: interrupted\n")
        assert process.returncode == 130
    assert time.monotonic() - began < 2.0


def test_a_terminal_is_told_the_time_left(server: PowServer) -> None:
    server.count, server.lifetime = 64, 1e8
    Path("c").write_bytes(problem(server.challenge(bits=22)))
    command = [sys.executable, "-m", "calpow.client", "solve", "c", *NO_LIMITS]
    with terminal() as (ours, theirs), subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as process:
        shown = read_until(ours, "<0")
        process.kill()
    assert "proof of work: " in shown
    assert "/64 [" in shown
