"""Results: one JSON line a file, whatever the answer holds, and a file of them that is never left torn."""

import base64
import sys
from io import FileIO
from pathlib import Path

import pytest

from calpow.client.cli.main import main
from calpow.client.cli.results import Result, ResultWriter, continued_results
from calpow.client.errors import OutputUnusable
from tests.support.command_line import read_results
from tests.support.pow_server import PowServer

if sys.platform != "win32":
    import resource

WHOLE = Result("a", 200, b"1").to_line() + Result("b", 400, error="refused").to_line()


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
    assert main(["predict", f"{server.url}/free", *answers]) == 0
    expected = {name: {"file": name, "status": 200, **answer} for name, (_, answer) in answers.items()}
    assert read_results(capfd.readouterr().out) == expected


def test_a_continued_file_knows_which_files_have_an_answer() -> None:
    Path("o").write_bytes(WHOLE)
    with continued_results("o") as (writer, answered):
        assert answered == {"a"}
        writer.write(Result("b", 200, b"2"))
    assert Path("o").read_bytes() == WHOLE + Result("b", 200, b"2").to_line()


@pytest.mark.parametrize("torn", ["{", '{"file": "2"', '{"file": "2", "status": 200, "answer": {"na', "", '{"fil'])
def test_a_torn_last_line_is_cut_off(torn: str) -> None:
    Path("o").write_bytes(WHOLE + torn.encode())
    with continued_results("o") as (_, answered):
        assert answered == {"a"}
    assert Path("o").read_bytes() == WHOLE


def test_a_last_line_that_lacks_only_its_end_is_kept() -> None:
    Path("o").write_bytes(WHOLE.rstrip(b"\n"))
    with continued_results("o"):
        pass
    assert Path("o").read_bytes() == WHOLE


@pytest.mark.parametrize("content", [b"\x89PNG", b"notes\n", b'{"file": "0.json"\n', b'{"file": 1}\n', b"[]\n", b"\n"])
def test_a_file_that_is_not_ours_is_left_as_it_is(content: bytes) -> None:
    Path("o").write_bytes(content)
    with pytest.raises(OutputUnusable, match=r"o, line 1: not a result of calpow predict"), continued_results("o"):
        pass
    assert Path("o").read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit there")
def test_after_a_line_that_a_full_disk_tore_none_is_written() -> None:
    with FileIO("o", "w") as file:
        writer = ResultWriter(file)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                writer.write(Result("a", 200, b"1"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        writer.write(Result("b", 200, b"2"))
    assert Path("o").read_bytes() == b'{"file": "'


def test_a_closed_writer_drops_what_comes_later() -> None:
    with FileIO("o", "w") as file:
        writer = ResultWriter(file)
        writer.write(Result("a", 200, b"1"))
        writer.close()
        writer.write(Result("b", 200, b"2"))
    assert Path("o").read_bytes() == Result("a", 200, b"1").to_line()
