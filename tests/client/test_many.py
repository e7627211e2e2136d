"""calpow predict for many files: a line each, as they come; gone on with after anything; never asked twice."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pytest

from calpow.client.cli import main as cli
from calpow.client.cli import results, turns
from calpow.client.cli.asking import asking
from calpow.client.cli.results import Result
from calpow.client.requests import PowAuth
from calpow.puzzle.solving.solver import Progress
from tests.support.pow_server import NO_LIMITS, PowServer, running
from tests.support.terminals import read_until, terminal

if sys.platform != "win32":
    import resource

Lines = dict[str, dict[str, object]]


@pytest.fixture
def server() -> Iterator[PowServer]:
    with running(PowServer()) as server:
        yield server


@pytest.fixture(autouse=True)
def _in_a_folder_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALPOW_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


def files(number: int) -> list[str]:
    """Files with a body each of its own."""
    names = [f"{index}.json" for index in range(number)]
    for name in names:
        Path(name).write_text(json.dumps({"name": name}))
    return names


def read(text: str) -> Lines:
    """The lines by their file, of which each has one."""
    lines = [json.loads(line) for line in text.splitlines()]
    assert len({line["file"] for line in lines}) == len(lines)
    return {line["file"]: line for line in lines}


def answered(names: list[str]) -> Lines:
    return {name: {"file": name, "status": 200, "answer": {"name": name}} for name in names}


def bodies(server: PowServer) -> list[bytes]:
    """What the server was asked, each question once."""
    return sorted({request.body for request in server.seen})


@contextmanager
def started(*arguments: str, **options: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The command in a process of its own, killed if it is still there."""
    command = [sys.executable, "-m", "calpow.client", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=options.get("stderr", subprocess.PIPE)) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_lines(path: str, number: int) -> None:
    deadline = time.monotonic() + 30
    while not Path(path).exists() or Path(path).read_bytes().count(b"\n") < number:
        assert time.monotonic() < deadline, "the lines do not come"
        time.sleep(0.01)


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_each_file_has_its_line_on_standard_output(
    jobs: str, server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = files(6)
    assert cli.main(["predict", f"{server.url}/paid", *names, "--jobs", jobs, "--key", "k"]) == 0
    out, err = capfd.readouterr()
    assert read(out) == answered(names)
    assert err == ""
    assert {request.headers["x-api-key"] for request in server.seen} == {"k"}
    assert {request.headers["content-type"] for request in server.seen} == {"application/json"}


def test_an_answer_is_json_if_it_can_be_else_text_else_base64(
    server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    answers: dict[str, tuple[bytes, dict[str, object]]] = {
        "a": (b'{"class": 1, "scores": [0.1, 1e300]}', {"answer": {"class": 1, "scores": [0.1, 1e300]}}),
        "b": (b"null", {"answer": None}),
        "c": (b"seven\n", {"answer": "seven\n"}),
        "d": (b"", {"answer": ""}),
        "e": (b"NaN", {"answer": "NaN"}),
        "f": (b"[1e999]", {"answer": "[1e999]"}),
        "g": (b"\x89PNG\xff", {"encoding": "base64", "answer": base64.b64encode(b"\x89PNG\xff").decode()}),
        "h": (b"[" * 100_000, {"answer": "[" * 100_000}),
        "i": ("„ä\u2028“".encode(), {"answer": "„ä\u2028“"}),
    }
    for name, (body, _) in answers.items():
        Path(name).write_bytes(body)
    assert cli.main(["predict", f"{server.url}/free", *answers]) == 0
    expected = {name: {"file": name, "status": 200, **answer} for name, (_, answer) in answers.items()}
    assert read(capfd.readouterr().out) == expected


def test_one_file_with_an_output_gets_a_line_too(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    names = files(1)
    assert cli.main(["predict", f"{server.url}/paid", *names, "--output", "o"]) == 0
    assert read(Path("o").read_text()) == answered(names)
    assert capfd.readouterr() == ("", "")


def test_a_file_named_twice_is_asked_once(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    names = files(2)
    assert cli.main(["predict", f"{server.url}/free", *names, *names]) == 0
    assert len(server.seen) == 2
    assert read(capfd.readouterr().out) == answered(names)


def test_what_the_server_refuses_is_a_line_with_its_reason_and_exit_code_1(
    server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = files(2)
    Path("bad").write_text("bad")
    assert cli.main(["predict", f"{server.url}/picky", "bad", *names]) == 1
    out, err = capfd.readouterr()
    assert read(out) == {
        "bad": {"file": "bad", "status": 400, "error": "the payload cannot be read"},
        **answered(names),
    }
    assert err == "calpow: 1 of 3 files were refused and 0 could not be asked: see the lines above\n"


def test_files_that_cannot_be_sent_are_lines_and_exit_code_2_and_the_others_are_asked(
    server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = files(2)
    Path("folder").mkdir()
    Path("bad").write_text("bad")
    given = ["missing", "folder", "bad", *names]
    assert cli.main(["predict", f"{server.url}/picky", *given, "--jobs", "2"]) == 2
    lines = read(capfd.readouterr().out)
    assert {name: lines[name] for name in names} == answered(names)
    assert {name: line["status"] for name, line in lines.items() if "error" in line} == {
        "missing": None,
        "folder": None,
        "bad": 400,
    }
    assert lines["missing"]["error"] == "missing: No such file or directory"
    assert lines["folder"]["error"] == "folder is a folder: name its files, say with folder/*"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no file here that even root cannot read")
def test_a_file_that_cannot_be_read_is_not_taken_for_a_server_that_cannot_be_reached(
    server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = files(1)
    assert cli.main(["predict", f"{server.url}/free", "/proc/self/mem", *names]) == 2
    assert read(capfd.readouterr().out) == answered(names) | {
        "/proc/self/mem": {"file": "/proc/self/mem", "status": None, "error": "[Errno 5] Input/output error"}
    }


def test_a_pipe_can_be_asked_for(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe")
    threading.Thread(target=lambda: Path("pipe").write_text("[1, 2]"), daemon=True).start()
    assert cli.main(["predict", f"{server.url}/paid", "pipe", "--output", "o"]) == 0
    assert read(Path("o").read_text()) == {"pipe": {"file": "pipe", "status": 200, "answer": [1, 2]}}


def test_a_file_that_asks_for_too_much_work_does_not_keep_the_others_from_being_asked(
    server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = files(5)
    assert cli.main(["predict", f"{server.url}/heavy", *names]) == 2
    lines = read(capfd.readouterr().out)
    assert lines.keys() == set(names)
    assert all("more than the limit of" in str(line["error"]) for line in lines.values())


@pytest.mark.parametrize("name", ["with space\tand\nline", "ä€", os.fsdecode(b"\xff\xfe"), "-dash", '"quoted"'])
def test_a_file_may_have_any_name(name: str, server: PowServer) -> None:
    Path(name).write_bytes(b"1")
    arguments = ["predict", f"{server.url}/free", "--output", "o", "--", name]
    assert [cli.main(arguments), cli.main(arguments)] == [0, 0]
    assert read(Path("o").read_text()) == {name: {"file": name, "status": 200, "answer": 1}}
    assert len(server.seen) == 1


def test_a_refused_key_ends_it_with_the_first_refusal(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", f"{server.url}/denied", *files(50), "--key", "k"]) == 1
    out, err = capfd.readouterr()
    assert read(out) == {"0.json": {"file": "0.json", "status": 401, "error": "unknown or revoked key"}}
    assert err == "calpow: 401: unknown or revoked key (49 of 50 files were not tried)\n"
    assert len(server.seen) == 1


def test_a_server_that_is_not_there_ends_it_after_three_files(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", "http://127.0.0.1:9/x", *files(50)]) == 2
    out, err = capfd.readouterr()
    assert len(read(out)) == 3
    assert err.startswith("calpow: cannot reach http://127.0.0.1:9/x: ")
    assert err.endswith(" (47 of 50 files were not tried)\n")


def test_a_second_run_asks_for_what_has_no_answer_and_the_last_line_counts(server: PowServer) -> None:
    names = files(3)
    Path("odd").write_text("bad")
    assert cli.main(["predict", f"{server.url}/picky", names[0], "odd", "--output", "o"]) == 1
    Path("odd").write_text("good")
    server.seen.clear()
    assert cli.main(["predict", f"{server.url}/picky", *names, "odd", "--output", "o"]) == 0
    assert b'{"name": "0.json"}' not in bodies(server)
    lines = [json.loads(line) for line in Path("o").read_text().splitlines()]
    assert [line["status"] for line in lines if line["file"] == "odd"] == [400, 200]
    assert {line["file"]: line for line in lines} == answered(names) | {
        "odd": {"file": "odd", "status": 200, "answer": "good"}
    }
    server.seen.clear()
    assert cli.main(["predict", f"{server.url}/picky", *names, "odd", "--output", "o"]) == 0
    assert server.seen == []


@pytest.mark.parametrize(
    "torn", ["{", '{"file": "2.json"', '{"file": "2.json", "status": 200, "answer": {"na', "", '{"fil']
)
def test_a_torn_last_line_is_cut_off_and_its_file_asked_again(torn: str, server: PowServer) -> None:
    names = files(3)
    assert cli.main(["predict", f"{server.url}/free", *names[:2], "--output", "o"]) == 0
    with open("o", "a") as file:
        file.write(torn)
    server.seen.clear()
    assert cli.main(["predict", f"{server.url}/free", *names, "--output", "o"]) == 0
    assert read(Path("o").read_text()) == answered(names)
    assert bodies(server) == [b'{"name": "2.json"}']


def test_a_last_line_that_lacks_only_its_end_is_kept(server: PowServer) -> None:
    names = files(3)
    assert cli.main(["predict", f"{server.url}/free", *names[:2], "--output", "o"]) == 0
    Path("o").write_text(Path("o").read_text().rstrip("\n"))
    server.seen.clear()
    assert cli.main(["predict", f"{server.url}/free", *names, "--output", "o"]) == 0
    assert read(Path("o").read_text()) == answered(names)
    assert len(server.seen) == 1


@pytest.mark.parametrize("content", [b"\x89PNG", b"notes\n", b'{"file": "0.json"\n', b'{"file": 1}\n', b"[]\n", b"\n"])
def test_a_file_that_is_not_ours_is_not_written_to(
    content: bytes, server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("o").write_bytes(content)
    assert cli.main(["predict", f"{server.url}/free", *files(1), "--output", "o"]) == 2
    assert capfd.readouterr().err == "calpow: o, line 1: no result of calpow predict; choose another --output\n"
    assert Path("o").read_bytes() == content
    assert server.seen == []


def test_two_on_one_output_are_one_too_many(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    server.seconds = 30.0
    with started("predict", f"{server.url}/sleepy", *files(1), "--output", "o"):
        wait_for_lines("o", 0)
        while not server.seen:
            time.sleep(0.01)
        assert cli.main(["predict", f"{server.url}/free", *files(1), "--output", "o"]) == 2
    assert capfd.readouterr().err == "calpow: another calpow is writing o: let it end, or choose another --output\n"
    assert cli.main(["predict", f"{server.url}/free", *files(1), "--output", "o"]) == 0


def test_a_full_disk_is_one_line_and_ends_it(server: PowServer) -> None:
    command = [sys.executable, "-m", "calpow.client", "predict", f"{server.url}/free", *files(50), "--jobs", "3"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (2, b"calpow: [Errno 28] No space left on device\n")
    assert len(server.seen) <= 6


def test_a_reader_that_is_gone_ends_it_at_once_whoever_waits_for_the_server(server: PowServer) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    server.seconds = 30.0  # which nobody waits for
    Path("folder").mkdir()  # no server is asked for it: its line comes at once
    command = [sys.executable, "-m", "calpow.client", "predict", f"{server.url}/sleepy"]
    began = time.monotonic()
    with open(theirs, "wb") as gone:
        options = [*files(2), "folder", "--jobs", "3"]
        done = subprocess.run([*command, *options], stdout=gone, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, b"calpow: [Errno 32] Broken pipe\n")
    assert time.monotonic() - began < 10


@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit there")
def test_after_a_line_that_a_full_disk_tore_none_is_written() -> None:
    with FileIO("o", "w") as file:
        lines = results.Lines(file)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                lines.write(Result("a", 200, b"1"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        lines.write(Result("b", 200, b"2"))
    assert Path("o").read_bytes() == b'{"file": "'


def test_jobs_ask_at_once_over_as_many_connections(server: PowServer) -> None:
    server.seconds = 0.05
    assert cli.main(["predict", f"{server.url}/sleepy", *files(24), "--jobs", "6", "--output", "o"]) == 0
    assert server.most_at_once == 6
    assert server.connections <= 6


def test_one_job_asks_one_by_one_over_one_connection(server: PowServer) -> None:
    assert cli.main(["predict", f"{server.url}/paid", *files(6), "--output", "o"]) == 0
    assert (server.most_at_once, server.connections) == (1, 1)


def ask_with_threads(server: PowServer, names: list[str], progress: Callable[[Progress], None]) -> None:
    auth = PowAuth("k", progress=progress)
    with asking(f"{server.url}/paid", auth, 5) as ask, ThreadPoolExecutor(5) as threads:
        assert {response.status_code for response in threads.map(ask, names)} == {200}


def test_the_puzzles_of_many_threads_are_solved_one_by_one(server: PowServer) -> None:
    solving: list[int] = []

    def progress(how_far: Progress) -> None:
        if how_far.found == 0:
            solving.append(threading.get_ident())
        assert solving == [threading.get_ident()]
        time.sleep(0.001)
        if how_far.found == how_far.count:
            solving.clear()

    ask_with_threads(server, files(20), progress)


@pytest.mark.parametrize(("queue_seconds", "many"), [(0.0, False), (10.0, True)])
def test_nobody_asks_for_a_challenge_that_would_wait_too_long_for_its_turn(
    queue_seconds: float, many: bool, server: PowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "QUEUE_SECONDS", queue_seconds)
    challenges: list[int] = []

    def progress(how_far: Progress) -> None:
        time.sleep(0.002)
        challenges.append(len(server.unsolved))

    ask_with_threads(server, files(20), progress)
    assert challenges[0] == 1
    assert (max(challenges) > 1) == many


def test_who_waits_for_a_busy_server_keeps_nobody_from_computing(server: PowServer) -> None:
    first, *names = files(5)
    done: list[bytes] = []
    with asking(f"{server.url}/busy", PowAuth("k"), 4) as ask, ThreadPoolExecutor(4) as threads:
        server.refusals = 0
        ask(first)
        server.refusals, server.retry_after = 1, "2"
        seen = len(server.seen)
        list(threads.map(lambda name: done.append(ask(name).content), names))
        refused = server.seen[seen].body
    assert len(done) == 4
    assert done[-1] == refused


@pytest.mark.parametrize("path", ["lost", "torn"])
def test_a_request_whose_connection_is_lost_is_sent_again_with_the_same_solution(
    path: str, server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = files(3)
    assert cli.main(["predict", f"{server.url}/{path}", *names]) == 0
    assert read(capfd.readouterr().out) == answered(names)
    solutions = [request.headers.get("pow-solution") for request in server.seen]
    assert solutions[:2] == [None, solutions[2]]
    assert len(set(solutions)) == len(solutions) - 1


def test_a_request_is_sent_again_only_once(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    server.refusals = 2
    names = files(2)
    assert cli.main(["predict", f"{server.url}/lost", *names]) == 2
    lines = read(capfd.readouterr().out)
    assert str(lines[names[0]]["error"]).startswith(f"cannot reach {server.url}/lost")
    assert lines[names[1]]["status"] == 200


def test_a_key_that_is_lost_on_the_way_ends_it(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", f"{server.url}/keyless", *files(50), "--key", "k"]) == 2
    out, err = capfd.readouterr()
    assert len(read(out)) == 1
    assert err.startswith("calpow: the API key did not arrive: something on the way drops the header X-Api-Key")
    assert err.endswith(" (49 of 50 files were not tried)\n")


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell to set limits")
def test_thousands_of_files_are_not_open_at_once(server: PowServer) -> None:
    names = files(400)
    command = f'ulimit -n 40; exec "$0" -m calpow.client predict {server.url}/free --jobs 4 --output o "$@"'
    subprocess.run(["sh", "-c", command, sys.executable, *names], check=True, timeout=120)
    assert read(Path("o").read_text()) == answered(names)


def test_an_interrupt_ends_it_at_once_and_what_is_answered_is_told(server: PowServer) -> None:
    names = files(6)
    assert cli.main(["predict", f"{server.url}/free", *names[:2], "--output", "o"]) == 0
    server.seconds = 30.0  # which nobody waits for
    with started("predict", f"{server.url}/sleepy", *names, "--jobs", "3", "--output", "o") as process:
        while len(server.seen) < 3:
            time.sleep(0.01)
        assert interrupted(process) == b"calpow: interrupted\n"
    assert read(Path("o").read_text()) == answered(names[:2])


def test_an_interrupt_ends_a_puzzle_at_once(server: PowServer) -> None:
    server.bits, server.lifetime = 40, 1e8
    with started("predict", f"{server.url}/paid", *files(6), "--jobs", "3", *NO_LIMITS) as process:
        while not server.seen:
            time.sleep(0.01)
        time.sleep(0.2)
        assert interrupted(process) == b"calpow: interrupted\n"


def interrupted(process: "subprocess.Popen[bytes]") -> bytes:
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 3.0
    assert process.returncode == 130
    return err


def test_a_terminal_shows_the_files_and_what_is_solved(server: PowServer) -> None:
    server.bits, server.lifetime = 40, 1e8
    names = [*files(1), "\x1b]0;odd\x07.json"]
    Path(names[1]).write_text("1")
    assert cli.main(["predict", f"{server.url}/free", names[0], "--output", "o"]) == 0
    arguments = ("predict", f"{server.url}/paid", *names, "--output", "o", *NO_LIMITS)
    with terminal() as (ours, theirs), started(*arguments, stderr=theirs) as process:
        assert "1/2 [" in read_until(ours, "?]0;odd?.json: 0/4 stamps")
        process.send_signal(signal.SIGINT)
        read_until(ours, "calpow: interrupted\r\n")
        assert process.wait(30) == 130


def test_killed_in_the_middle_nothing_answered_is_lost_or_asked_again(server: PowServer) -> None:
    names = files(40)
    server.seconds = 0.02
    for lines in (5, 15):
        with started("predict", f"{server.url}/sleepy", *names, "--jobs", "3", "--output", "o") as process:
            wait_for_lines("o", lines)
            process.kill()
        process.wait(30)
        told = read(Path("o").read_bytes().rpartition(b"\n")[0].decode())
        assert len(told) >= lines
    time.sleep(1)  # what the killed program had sent is still to be read
    server.seen.clear()
    assert cli.main(["predict", f"{server.url}/paid", *names, "--jobs", "3", "--output", "o"]) == 0
    assert read(Path("o").read_text()) == answered(names)
    assert len(bodies(server)) == len(names) - len(told)
