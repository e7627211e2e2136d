"""The command line: answers on stdout, one line on stderr for every failure, never a traceback."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calpow.client.cli import main as cli
from calpow.client.cli import predict
from calpow.puzzle.wire import Solution, parse_solution
from tests.support.pow_server import NO_LIMITS, PowServer, running
from tests.support.terminals import read_until, terminal

BODY = b"\x89PNG\r\n\x00\xff payload"


@pytest.fixture
def server() -> Iterator[PowServer]:
    with running(PowServer()) as server:
        yield server


@pytest.fixture
def payload(tmp_path: Path) -> str:
    path = tmp_path / "digit.png"
    path.write_bytes(BODY)
    return str(path)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALPOW_KEY", raising=False)


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def only_line(text: str) -> str:
    """Return the one line without its end."""
    assert text.count("\n") == 1
    assert text.startswith("calpow: ")
    return text[len("calpow: ") : -1]


def test_predict_prints_the_answer_and_nothing_else(
    server: PowServer, payload: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert cli.main(["predict", f"{server.url}/paid", payload, "--key", "k1"]) == 0
    assert capfdbinary.readouterr() == (BODY, b"")
    assert [request.headers["x-api-key"] for request in server.seen] == ["k1", "k1"]


def test_predict_takes_the_key_from_the_environment(
    server: PowServer, payload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALPOW_KEY", "k2")
    assert cli.main(["predict", f"{server.url}/paid", payload]) == 0
    assert server.seen[0].headers["x-api-key"] == "k2"


def test_predict_reads_standard_input(
    server: PowServer, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    feed(monkeypatch, BODY)
    assert cli.main(["predict", f"{server.url}/paid", "-"]) == 0
    assert capfdbinary.readouterr().out == BODY


def test_predict_sends_a_file_as_curl_does_and_json_as_json(server: PowServer, payload: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    cli.main(["predict", f"{server.url}/free", payload])
    cli.main(["predict", f"{server.url}/free", str(tmp_path / "x.json")])
    assert [request.headers.get("content-type") for request in server.seen] == [None, "application/json"]


def test_a_refusal_is_one_line_with_the_reason_and_exit_code_1(
    server: PowServer, payload: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", f"{server.url}/fault", payload]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert only_line(err) == "404: Model not found: echo?"


def test_a_refusal_without_a_document_is_one_line_too(
    server: PowServer, payload: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", f"{server.url}/bare", payload]) == 1
    assert only_line(capfd.readouterr().err) == "402: Payment Required"


def test_too_much_work_is_one_line_that_says_how_to_allow_it(
    server: PowServer, payload: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", f"{server.url}/paid", payload, "--max-hashes", "10"]) == 2
    assert only_line(capfd.readouterr().err).endswith("raise the limit (max_hashes, --max-hashes) to do the work")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["predict", "http://127.0.0.1:9/x", "{payload}"], "cannot reach http://127.0.0.1:9/x: "),
        (["predict", "127.0.0.1/x", "{payload}"], "Invalid URL '127.0.0.1/x'"),
        (["predict", "127.0.0.1/x", "{payload}", "/no/such/file"], "Invalid URL '127.0.0.1/x'"),
        (
            ["predict", "localhost:9/x", "{payload}", "/no/such/file"],
            "No connection adapters were found for 'localhost:9/x': give a URL that begins with http:// or https://",
        ),
        (["predict", "{url}/free", "{payload}", "-"], "standard input has no name to tell its answer by"),
        (["predict", "{url}/free", "{payload}", "--output", "/no/such/folder/a"], "/no/such/folder/a: No such file"),
        (["predict", "{url}/free", "{payload}", "--output", "/dev/null"], "/dev/null is no file that results can be"),
        (["predict", "{url}/free", "{folder}"], "{folder} is a folder: name its files"),
        (["predict", "{url}/free", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["predict", "{url}/free", ""], "'': No such file or directory"),
        (["predict", "{url}/free", "{payload}", "--key", "\u00e9"], "the API key is empty or not plain"),
        (["solve", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["solve", ""], "'': No such file or directory"),
        (["solve", "{payload}"], "a challenge must be a JSON object"),
        (["solve", "{folder}"], "{folder}: Is a directory"),
    ],
)
def test_every_failure_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, server: PowServer, payload: str, capfd: pytest.CaptureFixture[str]
) -> None:
    places = {"url": server.url, "payload": payload, "folder": str(Path(payload).parent)}
    assert cli.main([argument.format(**places) for argument in arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert only_line(err).startswith(line.format(**places))


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell here")
@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("predict $URL $FILE >&-", 0, b"", ""),
        ("predict $URL $FILE $FILE.not >&-", 2, b"", "calpow: 0 of 2 files were refused and 1 could not be asked"),
        ("predict $URL $FILE 2>&-", 0, BODY, ""),
        ("solve - <&-", 2, b"", "calpow: a challenge must be a JSON object"),
    ],
)
def test_a_standard_stream_that_is_closed_is_as_dev_null(
    line: str, code: int, out: bytes, err: str, server: PowServer, payload: str
) -> None:
    names = {**os.environ, "URL": f"{server.url}/free", "FILE": payload}
    command = f"{sys.executable} -m calpow.client {line}"
    done = subprocess.run(["sh", "-c", command], env=names, capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (code, out)
    assert done.stderr.decode().startswith(err)
    assert done.stderr.count(b"\n") == (err != "")


@pytest.mark.parametrize("bare", [False, True])
def test_solve_prints_the_header_that_answers_the_challenge(
    bare: bool, server: PowServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    challenge = server.challenge()
    document: dict[str, object] = challenge.to_document()
    (tmp_path / "c.json").write_text(json.dumps(document if bare else {"status": 402, "challenge": document}))
    assert cli.main(["solve", str(tmp_path / "c.json")]) == 0
    out, err = capsys.readouterr()
    name, _, value = out.partition(": ")
    assert (name, err) == ("PoW-Solution", "")
    assert isinstance(parse_solution(value.rstrip("\n")), Solution)
    assert server.objection(value.rstrip("\n"), BODY) is None


def test_solve_reads_standard_input(
    server: PowServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, json.dumps(server.challenge().to_document()).encode())
    assert cli.main(["solve", "-"]) == 0
    assert capsys.readouterr().out.startswith("PoW-Solution: ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the program curl is not installed")
def test_curl_gets_its_answer_with_the_printed_header(server: PowServer, payload: str, tmp_path: Path) -> None:
    saved = tmp_path / "challenge.json"
    curl = ["curl", "-s", "-X", "POST", "-H", "X-Api-Key: k", "--data-binary", f"@{payload}", f"{server.url}/paid"]
    saved.write_bytes(subprocess.run(curl, check=True, capture_output=True).stdout)
    solve = [sys.executable, "-m", "calpow.client", "solve", str(saved)]
    header = subprocess.run(solve, check=True, capture_output=True, text=True).stdout.strip()
    assert subprocess.run([*curl, "-H", header], check=True, capture_output=True).stdout == BODY


def examples(*command: str) -> str:
    """Return what a subcommand's --help shows after the word Example."""
    shown = subprocess.run(
        [sys.executable, "-m", "calpow.client", *command, "--help"], check=True, capture_output=True, text=True
    ).stdout
    return shown[shown.index("Example") :]


@pytest.mark.parametrize(
    ("command", "line"),
    [([], "calpow predict --help"), (["predict"], "calpow predict http"), (["solve"], "calpow solve -")],
)
def test_every_help_ends_with_an_example(command: list[str], line: str) -> None:
    assert line in examples(*command)


@pytest.mark.skipif(shutil.which("bash") is None, reason="the shell bash is not installed")
def test_the_example_of_solve_works_when_pasted() -> None:
    script = f'calpow() {{ "{sys.executable}" -m calpow.client "$@"; }}\n'
    pasted = examples("solve").partition("\n")[2]
    done = subprocess.run(["bash", "-c", script + pasted], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("PoW-Solution: e30.e30.c2ln 1:12:")
    assert done.stderr == ""


def test_version_and_usage_follow_argparse(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in ((["--version"], 0), (["--help"], 0), ([], 2), (["no-such-command"], 2)):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == code
    assert capsys.readouterr().out.startswith("calpow ")


def test_a_terminal_gets_a_progress_bar_and_ctrl_c_ends_the_work_with_one_line(
    server: PowServer, tmp_path: Path
) -> None:
    endless = tmp_path / "c.json"
    server.lifetime = 1e8
    endless.write_text(json.dumps(server.challenge(bits=40).to_document()))
    command = [sys.executable, "-m", "calpow.client", "solve", str(endless), *NO_LIMITS]
    with terminal() as (ours, theirs):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
        assert "0/4 [" in read_until(ours, "stamp/s")
        process.send_signal(signal.SIGINT)
        assert read_until(ours, "calpow: interrupted\r\n").count("\n") == 1
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == b""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    """Install a distribution whose modules are rooms: each offers its function `add` as a group of commands."""
    metadata = folder / "rooms-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: rooms\nVersion: 1.0\n")
    lines = [f"{name} = {name}:add" for name in modules]
    (metadata / "entry_points.txt").write_text("\n".join(["[calpow.commands]", *lines]))
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))


ROOM = """
def add(subparsers):
    subparsers.add_parser("train").set_defaults(run=train)
def train(args):
    {body}
"""


def test_a_room_that_is_installed_adds_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, room_with_commands=ROOM.format(body="return 7"))
    assert cli.main(["train"]) == 7


def test_a_command_without_its_packages_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, room_lacking_torch=ROOM.format(body="import no_such_torch.nn"))
    assert cli.main(["train"]) == 2
    assert only_line(capfd.readouterr().err) == "this command needs no_such_torch: pip install 'calpow[owner]'"


def test_a_room_that_cannot_be_loaded_leaves_the_others_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, broken_room="import no_such_torch", sound_room=ROOM.format(body="return 7"))
    assert cli.main(["train"]) == 7
    assert cli.main(["teach"]) == 2
    assert only_line(capfd.readouterr().err) == "this command needs no_such_torch: pip install 'calpow[owner]'"


def test_a_module_of_our_own_that_is_missing_is_not_blamed_on_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, room_with_a_fault=ROOM.format(body="import calpow.no_such_module"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["train"])


def test_the_consumer_s_commands_need_nothing_of_the_owner() -> None:
    code = (
        "import sys, calpow.client.cli.main; "
        "print([m for m in ('torch', 'numpy', 'scipy', 'calpow.handler', 'calpow.archiver') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    assert predict.KEY_VARIABLE == "CALPOW_KEY"
