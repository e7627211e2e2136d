"""Many files: each that is refused or cannot be sent has its line, and a run that can only fail ends early."""

import threading
from pathlib import Path

import pytest
import requests

from calpow.client.cli.bulk import BulkPrediction
from calpow.client.cli.main import main
from calpow.client.cli.results import Result
from tests.support.command_line import echoed, error_line, json_files, read_results
from tests.support.pow_server import PowServer


def test_a_refused_file_is_a_line_with_the_reason_and_exit_code_1(
    server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = json_files(2)
    Path("bad").write_text("bad")
    assert main(["predict", f"{server.url}/picky", "bad", *names]) == 1
    out, err = capfd.readouterr()
    assert read_results(out) == {
        "bad": {"file": "bad", "status": 400, "error": "the payload cannot be read"},
        **echoed(names),
    }
    assert error_line(err) == "3 files: 2 answered, 1 refused, 0 not sent (see the lines above)"


def test_files_that_cannot_be_sent_are_lines_and_exit_code_2_and_the_others_are_sent(
    server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = json_files(2)
    Path("folder").mkdir()
    Path("bad").write_text("bad")
    assert main(["predict", f"{server.url}/picky", "missing", "folder", "bad", *names, "--jobs", "2"]) == 2
    lines = read_results(capfd.readouterr().out)
    assert {name: lines[name] for name in names} == echoed(names)
    assert {name: line["status"] for name, line in lines.items() if "error" in line} == {
        "missing": None,
        "folder": None,
        "bad": 400,
    }
    assert lines["missing"]["error"] == "missing: No such file or directory"
    assert lines["folder"]["error"] == "folder is a folder: name its files, for example with folder/*"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no file here that even root cannot read")
def test_a_file_that_cannot_be_read_is_not_taken_for_a_server_that_cannot_be_reached(
    server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = json_files(1)
    assert main(["predict", f"{server.url}/free", "/proc/self/mem", *names]) == 2
    assert read_results(capfd.readouterr().out) == echoed(names) | {
        "/proc/self/mem": {"file": "/proc/self/mem", "status": None, "error": "Input/output error"}
    }


def test_a_file_with_too_much_work_does_not_keep_the_others_from_being_sent(
    server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = json_files(5)
    assert main(["predict", f"{server.url}/heavy", *names]) == 2
    lines = read_results(capfd.readouterr().out)
    assert lines.keys() == set(names)
    assert all("more than the limit of" in str(line["error"]) for line in lines.values())


def test_a_refused_key_ends_the_run(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", f"{server.url}/denied", *json_files(50), "--key", "k"]) == 1
    out, err = capfd.readouterr()
    assert read_results(out) == {"0.json": {"file": "0.json", "status": 401, "error": "unknown or revoked key"}}
    assert error_line(err) == "401: unknown or revoked key (49 of 50 files were not tried)"
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_ends_the_run_after_three_files(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "http://127.0.0.1:9/x", *json_files(50)]) == 2
    out, err = capfd.readouterr()
    assert len(read_results(out)) == 3
    assert error_line(err).startswith("cannot reach http://127.0.0.1:9/x: ")
    assert err.endswith(" (47 of 50 files were not tried)\n")


def test_a_key_that_is_dropped_on_the_way_ends_the_run(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", f"{server.url}/keyless", *json_files(50), "--key", "k"]) == 2
    out, err = capfd.readouterr()
    assert len(read_results(out)) == 1
    assert error_line(err).startswith("the API key did not arrive: something on the way drops the header X-Api-Key")
    assert err.endswith(" (49 of 50 files were not tried)\n")


def test_a_fault_in_a_thread_cancels_the_others_and_is_raised() -> None:
    cancel = threading.Event()

    def send(file: str) -> requests.Response:
        if file == "wrong":
            raise ZeroDivisionError
        assert cancel.wait(30)
        raise OSError("cancelled")

    results: list[Result] = []
    with pytest.raises(ZeroDivisionError):
        BulkPrediction(["waits", "wrong", "never"], send, results.append, cancel).run(2)
    assert results == []
