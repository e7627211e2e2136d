"""The shell lines of docs/consuming.md work when they are pasted, against a protected TorchServe."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.guarded import Site
from tests.support.pow_server import PowServer, running

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "consuming.md").read_text()
URL = "http://127.0.0.1:8080/predictions/digits"
PAYLOAD = "0.1,0.9,0.3,0.2"

needs = pytest.mark.skipif(
    not all(map(shutil.which, ("curl", "jq", "hashcash"))), reason="curl, jq or Debian's hashcash is not installed"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the lines are pasted: the files they speak of are there, and `calpow` is on the path."""
    (tmp_path / "digit.png").write_text(PAYLOAD)
    (tmp_path / "notes.txt").write_text("no vector")
    (tmp_path / "photos").mkdir()
    for index in range(60):
        (tmp_path / "photos" / f"{index}.png").write_text(f"0.{index:03},0.9,0.3,0.2")
    program = tmp_path / "bin" / "calpow"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m calpow.client "$@"\n')
    program.chmod(0o755)
    (tmp_path / "ask.sh").write_text(block("#!/bin/sh"))
    return tmp_path


def block(first: str) -> str:
    """The document's block that begins with these words, fenced or indented."""
    fenced = re.search(rf"(?m)^```sh\n({re.escape(first)}(?s:.*?))^```$", DOCUMENT)
    if fenced:
        return fenced[1]
    indented = re.search(rf"(?m)^    {re.escape(first)}(?:.*\n(?:    .*\n)*)", DOCUMENT)
    assert indented, first
    return "\n".join(line[4:] for line in indented[0].splitlines()) + "\n"


def paste(lines: str, url: str, folder: Path, key: str) -> "subprocess.CompletedProcess[str]":
    """Run lines in a shell as the document has them, but for the address and the key."""
    return subprocess.run(
        ["sh", "-e"],
        input=lines.replace(URL, url),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALPOW_KEY": key},
        timeout=120,
        check=False,
    )


WAYS = ["sh ask.sh", "ask() {", "calpow predict http"]


@needs
@pytest.mark.parametrize("first", WAYS)
def test_every_way_to_ask_gets_the_answer(first: str, site: Site, folder: Path) -> None:
    done = paste(block(first), site.server.url("vector"), folder, site.key("consuming"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["class"] == 1
    assert done.stderr == ""


@needs
def test_the_pipe_gets_the_answer(site: Site, folder: Path) -> None:
    pipe = re.search(r"(?m)^In one line, .*:\n\n((?:    .*\n)+)", DOCUMENT)
    assert pipe
    done = paste(pipe[1], site.server.url("vector"), folder, site.key("consuming"))
    assert json.loads(done.stdout)["class"] == 1


@pytest.mark.slow
@needs
@pytest.mark.parametrize("first", WAYS)
def test_every_way_to_ask_pays_the_rest_too(first: str, folder: Path) -> None:
    with running(PowServer(refusals=2)) as server:
        done = paste(block(first), f"{server.url}/rising", folder, "k")
        assert done.returncode == 0, done.stderr
        assert done.stdout == PAYLOAD
        tokens = {request.headers.get("pow-solution", "").partition(" ")[0] for request in server.requests}
    assert len(tokens) == 4
    assert server.passes == 1


@needs
def test_the_script_notices_that_its_solution_is_dropped(folder: Path) -> None:
    with running(PowServer()) as server:
        done = paste(f"sh ask.sh {server.url}/deaf digit.png", URL, folder, "k")
    assert (done.returncode, done.stderr) == (2, "ask.sh: PoW-Solution did not arrive\n")
    assert len(server.requests) == 2


@needs
def test_saved_headers_are_challenge_enough(site: Site, folder: Path) -> None:
    done = paste(block("curl -s -m 30 -D"), site.server.url("vector"), folder, site.key("consuming"))
    assert done.returncode == 0, done.stderr
    tokens = [line.split()[1] for line in done.stdout.splitlines()]
    assert tokens == [json.loads((folder / "body").read_text())["challenge"]["token"]] * 2


@needs
def test_the_script_says_no_to_what_it_cannot_do(site: Site, folder: Path) -> None:
    ask = f"sh ask.sh {URL}"
    refused = paste(f"{ask} notes.txt", site.server.url("vector"), folder, site.key("consuming"))
    assert (refused.returncode, json.loads(refused.stdout)["status"]) == (1, 400)
    unknown = paste(f"{ask} digit.png", site.server.url("vector"), folder, "cp_wrong")
    assert (unknown.returncode, json.loads(unknown.stdout)["status"]) == (1, 401)
    down = paste(f"{ask} digit.png", "http://127.0.0.1:9/x", folder, "k")
    assert down.returncode != 0
    assert "curl: (7)" in down.stderr


@needs
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"algorithm": "scrypt"}, "hashcash cannot solve scrypt: use calpow solve"),
        ({"bits": 40}, "16 stamps of 40 bits are too much work"),
        ({"bits": "$(touch${IFS}x)"}, "16 stamps of $(touch${IFS}x) bits are too much work"),
        ({"count": 10**9}, "1000000000 stamps of 4 bits are too much work"),
        ({"count": -1}, "-1 stamps of 4 bits are too much work"),
    ],
)
def test_the_script_solves_nothing_foreign_or_absurd(change: dict[str, object], reason: str, folder: Path) -> None:
    challenge = {"algorithm": "hashcash-sha1", "bits": 4, "count": 16, "id": "5f0c", "token": "e30.e30.c2ln"} | change
    (folder / "challenge").write_text(json.dumps({"challenge": challenge}))
    curl = folder / "bin" / "curl"  # a server that says so
    curl.write_text('#!/bin/sh\nfor word; do [ "$last" = -o ] && cp challenge "$word"; last=$word; done; echo 402\n')
    curl.chmod(0o755)
    done = paste("sh ask.sh x digit.png", URL, folder, "k")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"ask.sh: {reason}"
    assert not (folder / "x").exists()


def test_many_files_are_asked_and_gone_on_with(site: Site, folder: Path) -> None:
    key = site.key("consuming-many")
    lines = block("find photos")
    first = paste(lines, site.server.url("vector"), folder, key)
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    told = (folder / "answers.jsonl").read_text()
    answers = {line["file"]: line for line in map(json.loads, told.splitlines())}
    assert answers.keys() == {f"photos/{index}.png" for index in range(60)}
    for name in ("photos/0.png", "photos/59.png"):
        plain = site.plain("vector", (folder / name).read_bytes()).json()
        assert answers[name] == {"file": name, "status": 200, "answer": plain}
    charged = site.history("consuming-many").queries
    assert paste(lines, site.server.url("vector"), folder, key).returncode == 0
    assert (folder / "answers.jsonl").read_text() == told
    assert site.history("consuming-many").queries == charged == 60


@needs
def test_what_is_open_is_found_with_jq(site: Site, folder: Path) -> None:
    url, key = site.server.url("vector"), site.key("consuming-open")
    predict = f"calpow predict {URL} digit.png notes.txt missing.png"
    assert paste(f"{predict} --output answers.jsonl", url, folder, key).returncode == 2
    (folder / "notes.txt").write_text(PAYLOAD)
    assert paste(f"{predict} --output answers.jsonl", url, folder, key).returncode == 2
    line = re.search(r"`(jq -s .*)`", DOCUMENT)
    assert line
    assert paste(line[1], url, folder, key).stdout == "missing.png\n"
