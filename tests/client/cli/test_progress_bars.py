"""Progress bars on a terminal, in front of the one line that ends a run."""

import signal
from pathlib import Path

import pytest

from calpow.client.cli import progress_bars
from calpow.client.cli.main import main
from tests.support.command_line import PATIENCE_SECONDS, command_process, json_files
from tests.support.pow_server import NO_LIMITS, PowServer
from tests.support.saved_responses import problem_body
from tests.support.terminals import read_until, terminal


def test_predict_shows_the_files_and_what_is_solved(server: PowServer) -> None:
    server.bits, server.lifetime = 40, 1e8
    names = [*json_files(1), "\x1b]0;odd\x07.json"]
    Path(names[1]).write_text("1")
    assert main(["predict", f"{server.url}/free", names[0], "--output", "o"]) == 0
    arguments = ("predict", f"{server.url}/paid", *names, "--output", "o", *NO_LIMITS)
    with terminal() as (ours, theirs), command_process(*arguments, stderr=theirs) as process:
        assert "1/2 [" in read_until(ours, "?]0;odd?.json: 0/4 stamps")
        process.send_signal(signal.SIGINT)
        read_until(ours, "calpow: interrupted\r\n")
        assert process.wait(PATIENCE_SECONDS) == 130


def test_solve_shows_the_stamps_until_an_interrupt_ends_it_with_one_line(server: PowServer) -> None:
    server.lifetime = 1e8
    Path("c").write_bytes(problem_body(server.challenge(bits=40)))
    with terminal() as (ours, theirs), command_process("solve", "c", *NO_LIMITS, stderr=theirs) as process:
        assert "0/4 [" in read_until(ours, "stamp/s")
        process.send_signal(signal.SIGINT)
        assert read_until(ours, "calpow: interrupted\r\n").count("\n") == 1
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert out == b""


@pytest.mark.slow
def test_solve_shows_the_time_left(server: PowServer) -> None:
    server.count, server.lifetime = 64, 1e8
    Path("c").write_bytes(problem_body(server.challenge(bits=22)))
    with terminal() as (ours, theirs), command_process("solve", "c", *NO_LIMITS, stderr=theirs):
        shown = read_until(ours, "<0")
    assert "proof of work: " in shown
    assert "/64 [" in shown


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(
    server: PowServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_bars, "SECONDS_BETWEEN_LINES", 0.0)
    assert main(["predict", f"{server.url}/free", *json_files(3), "--output", "o"]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["calpow: files 1/3, about 0 s left", "calpow: files 2/3, about 0 s left", "calpow: files 3/3"]


def test_a_short_measurement_says_nothing_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bars.turns_bar(2) as advance:
        advance()
        advance()
    assert capfd.readouterr().err == ""
