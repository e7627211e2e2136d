"""Every adapter does the work that a server asks for, and returns every other response."""

import importlib
import json
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from calpow.puzzle.solving.solver import Progress
from calpow.puzzle.wire import Challenge
from tests.support.adapters import Adapter, Answer, Post
from tests.support.pow_server import PowServer
from tests.support.progress import no_work

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 300


def test_a_request_just_works(adapter: Adapter, server: PowServer) -> None:
    answer = adapter.post(f"{server.url}/paid", BODY)
    assert (answer.status, answer.content, answer.history) == (200, BODY, [402])
    assert [(request.headers["x-api-key"], request.body) for request in server.requests] == [(KEY, BODY)] * 2


def test_a_free_answer_is_returned_at_once(adapter: Adapter, server: PowServer) -> None:
    answer = adapter.post(f"{server.url}/free", BODY, progress=no_work)
    assert (answer.content, answer.history) == (BODY, [])


def test_the_challenge_may_be_only_in_the_header(adapter: Adapter, server: PowServer) -> None:
    assert adapter.post(f"{server.url}/header", BODY).content == BODY


@pytest.mark.parametrize(("path", "status"), [("bare", 402), ("fault", 404)])
def test_other_refusals_are_returned_as_they_are(adapter: Adapter, server: PowServer, path: str, status: int) -> None:
    assert adapter.post(f"{server.url}/{path}", progress=no_work).status == status


def test_solutions_that_are_too_late_bring_new_challenges_which_are_solved(adapter: Adapter, server: PowServer) -> None:
    server.refusals = 2
    assert adapter.post(f"{server.url}/late", BODY).history == [402] * 3


def test_of_too_little_work_the_rest_alone_is_solved_and_sent(adapter: Adapter, server: PowServer) -> None:
    server.refusals = 3
    answer = adapter.post(f"{server.url}/rising", BODY, max_hashes=8192)
    assert (answer.content, answer.history) == (BODY, [402] * 4)
    solutions = [request.headers["pow-solution"].split() for request in server.requests[1:]]
    assert len({stamp for solution in solutions for stamp in solution}) == sum(map(len, solutions))
    assert sum(Challenge.from_token(token).puzzle.expected_hashes for token, *_ in solutions) == 8192
    assert server.passes == 1


def test_the_rest_of_a_withheld_answer_is_paid(adapter: Adapter, server: PowServer) -> None:
    server.due = 5000
    answer = adapter.post(f"{server.url}/dear", BODY)
    assert (answer.content, answer.history, server.passes) == (BODY, [402, 402], 2)
    tokens = [request.headers["pow-solution"].split()[0] for request in server.requests[1:]]
    solved = sum(Challenge.from_token(token).puzzle.expected_hashes for token in tokens)
    assert 5000 <= solved < 5300


@pytest.mark.parametrize(
    ("path", "status", "problem"), [("large", 413, "too-large"), ("unexplained", 403, "explanation-refused")]
)
def test_a_refusal_that_no_work_can_change_is_returned(
    adapter: Adapter, server: PowServer, path: str, status: int, problem: str
) -> None:
    answer = adapter.post(f"{server.url}/{path}", progress=no_work)
    assert (answer.status, answer.history) == (status, [])
    assert json.loads(answer.content)["type"] == f"urn:calpow:problem:{problem}"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["priced", "paid"])
def test_200_identical_requests_at_once_are_all_answered(adapter: Adapter, server: PowServer, path: str) -> None:
    barrier = Barrier(200)

    def post_together(post: Post) -> Answer:
        barrier.wait()
        return post(f"{server.url}/{path}", BODY)

    with adapter.session() as post, ThreadPoolExecutor(200) as threads:
        post(f"{server.url}/{path}", BODY)
        answers = list(threads.map(post_together, [post] * 200))
    assert [answer.content for answer in answers] == [BODY] * 200
    assert [len(answer.history) for answer in answers] == [path == "paid"] * 200
    assert server.passes == 201
    solutions = [str(answer.solution).split() for answer in answers]
    stamps = [stamp for _, *stamps in solutions for stamp in stamps]
    assert len(set(stamps)) == len(stamps)


@pytest.mark.slow
@pytest.mark.parametrize("busy", [429, 503])
def test_a_request_to_a_busy_server_is_sent_again_after_retry_after(
    adapter: Adapter, server: PowServer, busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calpow.client.protocol.budget.MIN_WAIT", 0.3)
    server.busy, server.retry_after = busy, "0"
    began = time.monotonic()
    answer = adapter.post(f"{server.url}/busy", BODY)
    assert time.monotonic() - began >= 0.3
    assert (answer.content, answer.history) == (BODY, [busy, 402])


@pytest.mark.parametrize(
    ("busy", "retry_after", "max_wait"),
    [(503, None, 30), (503, "soon", 30), (503, "3", 2), (503, "1", 0), (429, "31", 30), (500, "1", 30), (502, "1", 30)],
)
def test_a_busy_response_without_a_usable_retry_after_is_returned_at_once(
    adapter: Adapter,
    server: PowServer,
    busy: int,
    retry_after: str | None,
    max_wait: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse_to_wait(*arguments: object) -> None:
        raise AssertionError("it waits")

    monkeypatch.setattr("calpow.client.auth._wait", refuse_to_wait)
    monkeypatch.setattr("calpow.client.httpx.anyio.sleep", refuse_to_wait)
    server.busy, server.retry_after = busy, retry_after
    assert adapter.post(f"{server.url}/busy", max_wait=max_wait).status == busy
    assert len(server.requests) == 1


def test_the_connection_is_kept(adapter: Adapter, server: PowServer) -> None:
    with adapter.session() as post:
        for number in range(3):
            post(f"{server.url}/paid", b"%d" % number)
    assert server.connections == 1


def test_cookies_that_come_with_a_challenge_go_with_its_solution(adapter: Adapter, server: PowServer) -> None:
    assert adapter.post(f"{server.url}/cookie", BODY).content == BODY


def test_threads_share_one_client(adapter: Adapter, server: PowServer) -> None:
    bodies = [b"%d" % number * 1000 for number in range(24)]
    with adapter.session() as post, ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda body: post(f"{server.url}/priced", body), bodies))
    assert [answer.content for answer in answers] == bodies


def test_an_error_of_progress_ends_the_work_and_reaches_the_caller(adapter: Adapter, server: PowServer) -> None:
    def lose_patience(progress: Progress) -> None:
        raise TimeoutError("no patience")

    with pytest.raises(TimeoutError, match="no patience"):
        adapter.post(f"{server.url}/paid", progress=lose_patience)


@pytest.mark.parametrize("module", ["calpow.client.requests", "calpow.client.httpx"])
def test_the_examples_are_true(server: PowServer, module: str) -> None:
    text = importlib.import_module(module).__doc__ or ""
    lines = [line for line in text.splitlines() if not line or line.startswith("    ")]
    names: dict[str, Any] = {"key": KEY, "url": f"{server.url}/paid", "image": BODY}
    exec(textwrap.dedent("\n".join(lines)), names)
    assert names["answer"].content == BODY
    assert len(server.requests) == 2 * text.count(".post(")
