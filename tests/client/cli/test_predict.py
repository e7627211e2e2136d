"""`calpow predict`: answers on stdout, and the same command again continues where it ended."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from calpow.client.cli.main import main
from tests.support.command_line import (
    PATIENCE_SECONDS,
    command_process,
    echoed,
    error_line,
    feed,
    interrupt,
    json_files,
    read_results,
    wait_for_lines,
)
from tests.support.pow_server import NO_LIMITS, PowServer
from tests.support.terminals import read_until, terminal

BODY = b"\x89PNG\r\n\x00\xff payload"


@pytest.fixture
def payload(tmp_path: Path) -> str:
    path = tmp_path / "digit.png"
    path.write_bytes(BODY)
    return str(path)


def bodies(server: PowServer) -> list[bytes]:
    """Return what was sent to the server, each body once."""
    return sorted({request.body for request in server.requests})


def test_one_answer_is_printed_and_nothing_else(
    server: PowServer, payload: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["predict", f"{server.url}/paid", payload, "--key", "k1"]) == 0
    assert capfdbinary.readouterr() == (BODY, b"")
    assert [request.headers["x-api-key"] for request in server.requests] == ["k1", "k1"]


def test_an_answer_on_a_terminal_ends_its_line(server: PowServer) -> None:
    Path("notes.txt").write_text("seven")
    arguments = ("predict", f"{server.url}/paid", "notes.txt", "--key", "k1")
    with terminal() as (ours, theirs), command_process(*arguments, stdout=theirs) as process:
        assert read_until(ours, "\n") == "seven\r\n"
        assert process.wait(PATIENCE_SECONDS) == 0


def test_the_key_is_taken_from_the_environment(
    server: PowServer, payload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALPOW_KEY", "k2")
    assert main(["predict", f"{server.url}/paid", payload]) == 0
    assert server.requests[0].headers["x-api-key"] == "k2"


def test_an_empty_variable_is_no_key(server: PowServer, payload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALPOW_KEY", "")
    assert main(["predict", f"{server.url}/free", payload]) == 0
    assert "x-api-key" not in server.requests[0].headers


def test_a_token_is_read_from_its_file_before_each_sending(
    server: PowServer, payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("e30.e30.one\n")
    assert main(["predict", f"{server.url}/paid", payload, "--token-file", str(token)]) == 0
    token.write_text("e30.e30.two")
    monkeypatch.setenv("CALPOW_TOKEN_FILE", str(token))
    assert main(["predict", f"{server.url}/free", payload]) == 0
    assert [request.headers["pow-identity"] for request in server.requests] == [
        *("e30.e30.one", "e30.e30.one", "e30.e30.two")
    ]


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"two words\nof a file"])
def test_a_file_without_a_token_is_refused_in_one_line(
    server: PowServer, payload: str, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    assert main(["predict", f"{server.url}/free", payload, "--token-file", str(tmp_path / "token")]) == 2
    assert "token" in error_line(capsys.readouterr().err)
    assert server.requests == []


def test_standard_input_is_sent(
    server: PowServer, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    feed(monkeypatch, BODY)
    assert main(["predict", f"{server.url}/paid", "-"]) == 0
    assert capfdbinary.readouterr().out == BODY


def test_a_file_is_sent_as_curl_sends_it_and_json_as_json(server: PowServer, payload: str) -> None:
    shutil.copy(payload, "CAPITALS.JSON")
    main(["predict", f"{server.url}/free", payload])
    main(["predict", f"{server.url}/free", *json_files(1)])
    main(["predict", f"{server.url}/free", "CAPITALS.JSON"])
    types = [request.headers.get("content-type") for request in server.requests]
    assert types == [None, "application/json", "application/json"]


@pytest.mark.parametrize(("name", "kind"), [("digit.png", "application/octet-stream"), ("a.Json", "application/json")])
def test_with_a_part_a_file_is_sent_as_the_part_of_a_form_and_paid_for(
    server: PowServer, payload: str, name: str, kind: str
) -> None:
    shutil.copy(payload, "sent")
    os.rename("sent", name)
    assert main(["predict", f"{server.url}/paid", name, "--part", "image", "--key", "k"]) == 0
    (first, paid) = server.requests
    form = message_from_bytes(f"Content-Type: {paid.headers['content-type']}\r\n\r\n".encode() + paid.body)
    parts = form.get_payload()
    assert isinstance(parts, list)
    (part,) = parts
    assert isinstance(part, Message)
    assert part.get_param("name", header="Content-Disposition") == "image"
    assert part.get_content_type() == kind
    assert part.get_payload(decode=True) == BODY
    assert first.body == paid.body


def test_many_files_are_sent_as_the_same_part(server: PowServer) -> None:
    assert main(["predict", f"{server.url}/free", *json_files(2), "--part", "image", "--output", "o"]) == 0
    assert all(b'name="image"; filename="' in request.body for request in server.requests)


@pytest.mark.parametrize("part", ["", 'a"b', "a\r\nb"])
def test_a_part_whose_name_breaks_the_form_is_refused(
    server: PowServer, payload: str, part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", f"{server.url}/free", payload, "--part", part]) == 2
    assert "is no name of a form's part" in error_line(capfd.readouterr().err)
    assert server.requests == []


def test_a_refusal_is_one_line_with_the_reason_and_exit_code_1(
    server: PowServer, payload: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", f"{server.url}/fault", payload]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert error_line(err) == "404: Model not found: echo?"


def test_a_refusal_without_a_document_is_one_line_too(
    server: PowServer, payload: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", f"{server.url}/bare", payload]) == 1
    assert error_line(capfd.readouterr().err) == "402: Payment Required"


def test_too_much_work_is_one_line_that_says_how_to_allow_it(
    server: PowServer, payload: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", f"{server.url}/paid", payload, "--max-hashes", "10"]) == 2
    assert error_line(capfd.readouterr().err).endswith("raise the limit (max_hashes, --max-hashes) to do the work")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["http://127.0.0.1:9/x", "{payload}"], "cannot reach http://127.0.0.1:9/x: "),
        (["127.0.0.1/x", "{payload}"], "Invalid URL '127.0.0.1/x'"),
        (["127.0.0.1/x", "{payload}", "/no/such/file"], "Invalid URL '127.0.0.1/x'"),
        (
            ["localhost:9/x", "{payload}", "/no/such/file"],
            "No connection adapters were found for 'localhost:9/x': give a URL that begins with http:// or https://",
        ),
        (["{url}/free", "{payload}", "-"], "standard input has no name for its line of JSON"),
        (["{url}/free", "{payload}", "--output", "/no/such/folder/a"], "/no/such/folder/a: No such file"),
        (["{url}/free", "{payload}", "--output", "/dev/null"], "/dev/null is not a regular file: name another one"),
        (["{url}/free", "{payload}", "--output", "{folder}"], "Invalid value for '--output': File '{folder}' is a dir"),
        (["{url}/free", "{folder}"], "{folder} is a folder: name its files"),
        (["{url}/free", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["{url}/free", ""], "'': No such file or directory"),
        (["{url}/free", "{payload}", "--key", "\u00e9"], "the API key is empty or not plain"),
        (["{url}/free", "{payload}", "--key", ""], "the API key is empty or not plain"),
    ],
)
def test_every_failure_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, server: PowServer, payload: str, capfd: pytest.CaptureFixture[str]
) -> None:
    places = {"url": server.url, "payload": payload, "folder": str(Path(payload).parent)}
    assert main(["predict", *(argument.format(**places) for argument in arguments)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert error_line(err).startswith(line.format(**places))


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_each_of_several_files_has_its_line_on_standard_output(
    jobs: str, server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = json_files(6)
    assert main(["predict", f"{server.url}/paid", *names, "--jobs", jobs, "--key", "k"]) == 0
    out, err = capfd.readouterr()
    assert read_results(out) == echoed(names)
    assert err == ""
    assert {request.headers["x-api-key"] for request in server.requests} == {"k"}
    assert {request.headers["content-type"] for request in server.requests} == {"application/json"}


def test_one_file_with_an_output_gets_a_line_too(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    names = json_files(1)
    assert main(["predict", f"{server.url}/paid", *names, "--output", "o"]) == 0
    assert read_results(Path("o").read_text()) == echoed(names)
    assert capfd.readouterr() == ("", "")


def test_a_file_named_twice_is_sent_once(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    names = json_files(2)
    assert main(["predict", f"{server.url}/free", *names, *names]) == 0
    assert len(server.requests) == 2
    assert read_results(capfd.readouterr().out) == echoed(names)


def test_a_pipe_can_be_sent(server: PowServer) -> None:
    os.mkfifo("pipe")
    threading.Thread(target=lambda: Path("pipe").write_text("[1, 2]"), daemon=True).start()
    assert main(["predict", f"{server.url}/paid", "pipe", "--output", "o"]) == 0
    assert read_results(Path("o").read_text()) == {"pipe": {"file": "pipe", "status": 200, "answer": [1, 2]}}


@pytest.mark.parametrize("name", ["with space\tand\nline", "ä€", os.fsdecode(b"\xff\xfe"), "-dash", '"quoted"'])
def test_a_file_may_have_any_name(name: str, server: PowServer) -> None:
    Path(name).write_bytes(b"1")
    arguments = ["predict", f"{server.url}/free", "--output", "o", "--", name]
    assert [main(arguments), main(arguments)] == [0, 0]
    assert read_results(Path("o").read_text()) == {name: {"file": name, "status": 200, "answer": 1}}
    assert len(server.requests) == 1


def test_a_second_run_sends_what_has_no_answer_and_the_last_line_counts(server: PowServer) -> None:
    names = json_files(3)
    Path("odd").write_text("bad")
    assert main(["predict", f"{server.url}/picky", names[0], "odd", "--output", "o"]) == 1
    Path("odd").write_text("good")
    server.requests.clear()
    assert main(["predict", f"{server.url}/picky", *names, "odd", "--output", "o"]) == 0
    assert b'{"name": "0.json"}' not in bodies(server)
    lines = [json.loads(line) for line in Path("o").read_text().splitlines()]
    assert [line["status"] for line in lines if line["file"] == "odd"] == [400, 200]
    assert {line["file"]: line for line in lines} == echoed(names) | {
        "odd": {"file": "odd", "status": 200, "answer": "good"}
    }
    server.requests.clear()
    assert main(["predict", f"{server.url}/picky", *names, "odd", "--output", "o"]) == 0
    assert server.requests == []


def test_a_torn_last_line_is_cut_off_and_its_file_sent_again(server: PowServer) -> None:
    names = json_files(3)
    assert main(["predict", f"{server.url}/free", *names[:2], "--output", "o"]) == 0
    with open("o", "a") as file:
        file.write('{"file": "2.json", "status": 200, "answer": {"na')
    server.requests.clear()
    assert main(["predict", f"{server.url}/free", *names, "--output", "o"]) == 0
    assert read_results(Path("o").read_text()) == echoed(names)
    assert bodies(server) == [b'{"name": "2.json"}']


def test_a_file_that_is_not_ours_is_not_written_to(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    Path("o").write_bytes(b"notes\n")
    assert main(["predict", f"{server.url}/free", *json_files(1), "--output", "o"]) == 2
    assert error_line(capfd.readouterr().err) == "o, line 1: not a result of calpow predict; choose another --output"
    assert Path("o").read_bytes() == b"notes\n"
    assert server.requests == []


def test_two_processes_cannot_write_one_output(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    server.seconds = 2 * PATIENCE_SECONDS
    with command_process("predict", f"{server.url}/sleepy", *json_files(1), "--output", "o"):
        while not server.requests:
            time.sleep(0.01)
        assert main(["predict", f"{server.url}/free", *json_files(1), "--output", "o"]) == 2
    line = error_line(capfd.readouterr().err)
    assert line == "another calpow is writing o: wait for its end, or choose another --output"
    assert main(["predict", f"{server.url}/free", *json_files(1), "--output", "o"]) == 0


def test_a_full_disk_ends_it_with_one_line(server: PowServer) -> None:
    names = json_files(50)
    command = [sys.executable, "-m", "calpow.client", "predict", f"{server.url}/free", *names, "--jobs", "3"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, done.stderr) == (2, b"calpow: No space left on device\n")
    assert len(server.requests) <= 6


@pytest.mark.slow
def test_a_reader_that_is_gone_ends_it_without_waiting_for_the_server(server: PowServer) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    server.seconds = 2 * PATIENCE_SECONDS
    Path("folder").mkdir()  # it is not sent, so its line comes at once
    command = [sys.executable, "-m", "calpow.client", "predict", f"{server.url}/sleepy"]
    arguments = [*json_files(2), "folder", "--jobs", "3"]
    with open(theirs, "wb") as gone:
        done = subprocess.run(
            [*command, *arguments], stdout=gone, stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS, check=False
        )
    assert (done.returncode, done.stderr) == (2, b"calpow: Broken pipe\n")


@pytest.mark.slow
def test_an_interrupt_ends_it_without_waiting_for_the_server_and_keeps_what_is_answered(server: PowServer) -> None:
    names = json_files(6)
    assert main(["predict", f"{server.url}/free", *names[:2], "--output", "o"]) == 0
    server.seconds = 2 * PATIENCE_SECONDS
    with command_process("predict", f"{server.url}/sleepy", *names, "--jobs", "3", "--output", "o") as process:
        while len(server.requests) < 3:
            time.sleep(0.01)
        assert interrupt(process) == (b"", b"calpow: interrupted\n")
    assert read_results(Path("o").read_text()) == echoed(names[:2])


def test_an_interrupt_ends_a_puzzle_that_would_take_years(server: PowServer) -> None:
    server.bits, server.lifetime = 40, 1e8
    with command_process("predict", f"{server.url}/paid", *json_files(6), "--jobs", "3", *NO_LIMITS) as process:
        while not server.requests:
            time.sleep(0.01)
        time.sleep(0.2)
        assert interrupt(process) == (b"", b"calpow: interrupted\n")


@pytest.mark.slow
def test_killed_in_the_middle_nothing_answered_is_lost_or_sent_again(server: PowServer) -> None:
    names = json_files(40)
    server.seconds = 0.02
    for lines in (5, 15):
        with command_process("predict", f"{server.url}/sleepy", *names, "--jobs", "3", "--output", "o") as process:
            wait_for_lines("o", lines)
            process.kill()
        process.wait(PATIENCE_SECONDS)
        kept = read_results(Path("o").read_bytes().rpartition(b"\n")[0].decode())
        assert len(kept) >= lines
    time.sleep(1)  # the server has yet to read what the killed process sent
    server.requests.clear()
    assert main(["predict", f"{server.url}/paid", *names, "--jobs", "3", "--output", "o"]) == 0
    assert read_results(Path("o").read_text()) == echoed(names)
    assert len(bodies(server)) == len(names) - len(kept)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell to set limits")
def test_hundreds_of_files_are_not_open_at_once(server: PowServer) -> None:
    names = json_files(400)
    command = f'ulimit -n 40; exec "$0" -m calpow.client predict {server.url}/free --jobs 4 --output o "$@"'
    subprocess.run(["sh", "-c", command, sys.executable, *names], check=True, timeout=120)
    assert read_results(Path("o").read_text()) == echoed(names)
