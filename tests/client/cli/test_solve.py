"""`calpow solve`: the header that answers a challenge, and nothing solved in vain."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from calpow.client.cli.main import main
from calpow.puzzle.wire import Solution, parse_solution
from tests.support.command_line import command_process, error_line, feed, interrupt
from tests.support.pow_server import NO_LIMITS, PowServer
from tests.support.saved_responses import dump, expiring_body, header_value, problem_body

BODY = b"payload"


def solution(out: str) -> str:
    """Return the value of the header line that was printed."""
    name, _, value = out.rstrip("\n").partition(": ")
    assert name == "PoW-Solution"
    return value


@pytest.mark.parametrize("bare", [False, True])
def test_the_header_that_answers_the_challenge_is_printed(
    bare: bool, server: PowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    challenge = server.challenge()
    Path("c").write_bytes(json.dumps(challenge.to_document()).encode() if bare else problem_body(challenge))
    assert main(["solve", "c"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert isinstance(parse_solution(solution(out)), Solution)
    assert server.objection(solution(out), BODY) is None


def test_standard_input_is_read(
    server: PowServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, json.dumps(server.challenge().to_document()).encode())
    assert main(["solve", "-"]) == 0
    assert capsys.readouterr().out.startswith("PoW-Solution: ")


def test_a_header_is_enough(server: PowServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "--header", f"WWW-Authenticate: {header_value(server.challenge())}"]) == 0
    assert server.objection(solution(capsys.readouterr().out), BODY) is None


def test_a_dump_of_curl_is_solved(server: PowServer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c").write_bytes(dump(server.challenge()))
    assert main(["solve", "c"]) == 0
    assert server.objection(solution(capsys.readouterr().out), BODY) is None


@pytest.mark.skipif(shutil.which("curl") is None, reason="the program curl is not installed")
def test_curl_gets_its_answer_with_the_printed_header(server: PowServer) -> None:
    Path("payload").write_bytes(BODY)
    curl = ["curl", "-s", "-X", "POST", "-H", "X-Api-Key: k", "--data-binary", "@payload", f"{server.url}/paid"]
    Path("challenge").write_bytes(subprocess.run(curl, check=True, capture_output=True).stdout)
    solve = [sys.executable, "-m", "calpow.client", "solve", "challenge"]
    header = subprocess.run(solve, check=True, capture_output=True, text=True).stdout.strip()
    assert subprocess.run([*curl, "-H", header], check=True, capture_output=True).stdout == BODY


@pytest.mark.skipif(shutil.which("bash") is None, reason="the shell bash is not installed")
def test_the_example_in_the_help_works_when_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "--help"]) == 0
    _, _, example = capsys.readouterr().out.partition("Example (the token is made up, the work is real):\n")
    script = f'calpow() {{ "{sys.executable}" -m calpow.client "$@"; }}\n'
    done = subprocess.run(["bash", "-c", script + example], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("PoW-Solution: e30.e30.c2ln 1:12:")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/no/such/file", "Invalid value for '[CHALLENGE]': File '/no/such/file' does not exist"),
        ("", "Invalid value for '[CHALLENGE]': File '' does not exist"),
        (".", "Invalid value for '[CHALLENGE]': File '.' is a directory"),
        ("odd", "a challenge must be a JSON object"),
    ],
)
def test_a_file_without_a_challenge_is_one_line_and_exit_code_2(
    path: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("odd").write_bytes(b"\x89PNG")
    assert main(["solve", path]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert error_line(err).startswith(line)


@pytest.mark.parametrize("arguments", [[], ["c", "--header", "x"]])
def test_exactly_one_challenge_is_wanted(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("c").touch()
    assert main(["solve", *arguments]) == 2
    assert error_line(capsys.readouterr().err) == "Give either CHALLENGE or --header (see calpow solve --help)"


def test_an_expired_challenge_is_not_solved_and_the_clock_is_doubted(
    server: PowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    expires = datetime(2026, 1, 15, 12, 0, tzinfo=timezone.utc)
    Path("c").write_bytes(expiring_body(server.challenge(bits=28), expires))
    assert main(["solve", "c"]) == 2
    assert error_line(capsys.readouterr().err) == (
        "the challenge expired at 2026-01-15 12:00:00 UTC, by this machine's clock, which may be wrong: "
        "ask for a new one"
    )


def test_a_dump_ages_with_its_file(server: PowServer, capsys: pytest.CaptureFixture[str]) -> None:
    challenge = server.challenge()
    sent = datetime(2040, 1, 1, tzinfo=timezone.utc)  # by a clock that does not matter
    Path("c").write_bytes(dump(challenge, body=expiring_body(challenge, sent + timedelta(minutes=5)), date=sent))
    for age, code in ((200, 0), (400, 2)):
        os.utime("c", (time.time() - age, time.time() - age))
        assert main(["solve", "c"]) == code
    assert ", by the server's clock: ask for a new one" in capsys.readouterr().err


# Each of these returns only because nothing is solved: 40 bits would take days.
def test_an_absurd_challenge_is_refused(server: PowServer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c").write_bytes(problem_body(server.challenge(bits=40)))
    assert main(["solve", "c"]) == 2
    assert "more than the limit of 4,294,967,296: raise" in error_line(capsys.readouterr().err)


@pytest.mark.slow
def test_a_challenge_that_expires_before_it_can_be_solved_is_given_up(
    server: PowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=3)
    Path("c").write_bytes(expiring_body(server.challenge(bits=40), soon))
    assert main(["solve", "c", "--max-hashes", str(2**50)]) == 2
    assert " s here and expires in " in error_line(capsys.readouterr().err)


@pytest.mark.slow
def test_a_challenge_that_takes_longer_than_allowed_is_given_up(
    server: PowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c").write_bytes(problem_body(server.challenge(bits=40)))
    assert main(["solve", "c", "--max-hashes", str(2**50), "--max-seconds", "0.5"]) == 2
    assert "more than the 0.5 s allowed" in error_line(capsys.readouterr().err)


def test_an_interrupt_ends_it_without_a_terminal_too(server: PowServer) -> None:
    server.lifetime = 1e8
    os.mkfifo("c")
    with command_process("solve", "c", *NO_LIMITS) as process:
        Path("c").write_bytes(problem_body(server.challenge(bits=40)))  # waits until the command reads it
        time.sleep(0.3)
        assert interrupt(process) == (b"", b"calpow: interrupted\n")
