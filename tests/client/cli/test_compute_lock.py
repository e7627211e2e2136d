"""The compute lock: puzzles one at a time, waiting for the server all at once."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from calpow.client.cli import compute_lock
from calpow.client.cli.file_sender import FileSender
from calpow.client.cli.main import main
from calpow.client.requests import PowAuth
from calpow.puzzle.solving.solver import Progress
from tests.support.command_line import echoed, json_files, read_results
from tests.support.pow_server import PowServer


def send_with_threads(server: PowServer, names: list[str], progress: Callable[[Progress], None]) -> None:
    auth = PowAuth("k", progress=progress)
    with FileSender(f"{server.url}/paid", auth, 5) as sender, ThreadPoolExecutor(5) as threads:
        assert {response.status_code for response in threads.map(sender.send, names)} == {200}


def test_the_puzzles_of_many_threads_are_solved_one_at_a_time(server: PowServer) -> None:
    solving: list[int] = []

    def progress(state: Progress) -> None:
        if state.found == 0:
            solving.append(threading.get_ident())
        assert solving == [threading.get_ident()]
        time.sleep(0.001)
        if state.found == state.count:
            solving.clear()

    send_with_threads(server, json_files(20), progress)


@pytest.mark.parametrize(("queue_seconds", "several"), [(0.0, False), (10.0, True)])
def test_no_challenge_is_fetched_that_would_wait_too_long_for_the_lock(
    queue_seconds: float, several: bool, server: PowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_lock, "QUEUE_SECONDS", queue_seconds)
    challenges: list[int] = []

    def progress(state: Progress) -> None:
        time.sleep(0.002)
        challenges.append(len(server.unsolved))

    send_with_threads(server, json_files(20), progress)
    assert challenges[0] == 1
    assert (max(challenges) > 1) == several


@pytest.mark.slow
def test_a_thread_that_waits_for_a_busy_server_does_not_hold_the_lock(server: PowServer) -> None:
    first, *names = json_files(5)
    answers: list[bytes] = []
    with FileSender(f"{server.url}/busy", PowAuth("k"), 4) as sender, ThreadPoolExecutor(4) as threads:
        server.refusals = 0
        sender.send(first)
        server.refusals, server.retry_after = 1, "2"
        sent = len(server.requests)
        list(threads.map(lambda name: answers.append(sender.send(name).content), names))
        refused = server.requests[sent].body
    assert len(answers) == 4
    assert answers[-1] == refused


@pytest.mark.parametrize("path", ["lost", "torn"])
def test_a_request_whose_connection_is_lost_is_sent_again_with_the_same_solution(
    path: str, server: PowServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names = json_files(3)
    assert main(["predict", f"{server.url}/{path}", *names]) == 0
    assert read_results(capfd.readouterr().out) == echoed(names)
    solutions = [request.headers.get("pow-solution") for request in server.requests]
    assert solutions[:2] == [None, solutions[2]]
    assert len(set(solutions)) == len(solutions) - 1


def test_a_request_is_sent_again_only_once(server: PowServer, capfd: pytest.CaptureFixture[str]) -> None:
    server.refusals = 2
    names = json_files(2)
    assert main(["predict", f"{server.url}/lost", *names]) == 2
    lines = read_results(capfd.readouterr().out)
    assert str(lines[names[0]]["error"]).startswith(f"cannot reach {server.url}/lost")
    assert lines[names[1]]["status"] == 200
