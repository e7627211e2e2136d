"""PowAuth for requests: sessions, cookies, hooks, redirects, and requests that are sent again."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
import requests

from calpow.client import (
    ClientError,
    PowAuth,
    WorkLimitExceeded,
)
from tests.support.pow_server import PowServer, running
from tests.support.progress import no_work

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 300


def post(server: PowServer, path: str, body: Any = BODY, **options: Any) -> requests.Response:
    return requests.post(f"{server.url}/{path}", data=body, timeout=30, auth=PowAuth(KEY, **options))


def test_the_402_is_in_the_history_and_both_responses_know_their_request(server: PowServer) -> None:
    response = post(server, "paid")
    (challenged,) = response.history
    assert challenged.status_code == 402
    assert "PoW-Solution" not in challenged.request.headers
    assert response.request.headers["PoW-Solution"].startswith(challenged.json()["challenge"]["token"])
    assert timedelta(0) < response.elapsed < timedelta(seconds=30)


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_solution_that_came_too_late_brings_a_new_challenge_which_is_solved(server: PowServer, refusals: int) -> None:
    server.refusals = refusals
    response = post(server, "late", io.BytesIO(BODY))
    assert response.content == BODY
    assert [past.status_code for past in response.history] == [402] * (refusals + 1)
    assert {request.body for request in server.requests} == {BODY}


def test_a_server_that_is_never_satisfied_is_given_up(server: PowServer) -> None:
    server.refusals = 1000
    reason = "the last solution was refused: the challenge has expired: ask again"
    with pytest.raises(WorkLimitExceeded, match=reason) as caught:
        post(server, "late", max_hashes=1024)
    assert len(server.requests) == 5
    assert caught.value.response is not None
    assert caught.value.response.status_code == 402


def test_more_work_than_allowed_is_refused_before_any_is_done(server: PowServer) -> None:
    server.bits, server.count = 10, 16
    with pytest.raises(WorkLimitExceeded, match=r"about 16,384 hashes, more than the limit of 16,383") as caught:
        post(server, "paid", max_hashes=16_383, progress=no_work)
    assert (caught.value.expected_hashes, caught.value.limit) == (16_384, 16_383)
    assert caught.value.response is not None
    assert len(server.requests) == 1


def test_without_a_key_the_caller_s_own_identity_is_left_alone(server: PowServer) -> None:
    response = requests.post(f"{server.url}/paid", auth=PowAuth(None), headers={"X-User": "ada"}, timeout=30)
    assert response.status_code == 200
    assert [request.headers["x-user"] for request in server.requests] == ["ada"] * 2
    assert not any("x-api-key" in request.headers for request in server.requests)


def test_progress_is_reported_after_every_stamp(server: PowServer) -> None:
    reports: list[tuple[int, int]] = []
    post(server, "paid", progress=lambda progress: reports.append((progress.found, progress.count)))
    assert reports == [(found, 4) for found in range(5)]


def test_a_session_keeps_its_connection_and_its_cookies(server: PowServer) -> None:
    with requests.Session() as session:
        session.auth = PowAuth(KEY)
        for number in range(3):
            assert session.post(f"{server.url}/cookie", data=b"%d" % number, timeout=30).content == b"%d" % number
        assert session.cookies.get_dict() == {"route": "a"}
    assert server.connections == 1


def test_a_cookie_that_comes_with_the_challenge_is_sent_beside_the_session_s_own(server: PowServer) -> None:
    with requests.Session() as session:
        session.cookies.set("own", "1")
        assert session.post(f"{server.url}/cookie", auth=PowAuth(KEY), timeout=30).status_code == 200
    assert server.requests[-1].headers["cookie"] == "own=1; route=a"


def test_a_cookie_header_written_by_hand_is_kept(server: PowServer) -> None:
    requests.post(f"{server.url}/cookie", auth=PowAuth(KEY), headers={"Cookie": "own=1"}, timeout=30)
    assert [request.headers["cookie"] for request in server.requests] == ["own=1", "own=1"]


def test_a_streamed_answer_is_left_to_the_caller_to_read(server: PowServer) -> None:
    with requests.post(f"{server.url}/paid", data=BODY, auth=PowAuth(KEY), stream=True, timeout=30) as response:
        assert b"".join(response.iter_content(1000)) == BODY


def test_hooks_of_the_caller_see_the_answer(server: PowServer) -> None:
    statuses: list[int] = []
    requests.post(
        f"{server.url}/paid",
        auth=PowAuth(KEY),
        hooks={"response": lambda response, **_: statuses.append(response.status_code)},
        timeout=30,
    )
    assert statuses == [200]


def test_a_prepared_request_can_be_sent_again_and_pays_again(server: PowServer) -> None:
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request("POST", f"{server.url}/paid", data=BODY, auth=PowAuth(KEY)))
        for _ in range(4):
            assert session.send(prepared, timeout=30).content == BODY


def test_a_prepared_request_that_is_redirected_has_its_own_limits_each_time(server: PowServer) -> None:
    server.target = "/paid"
    auth = PowAuth(KEY, max_hashes=2 * server.count << server.bits)
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request("POST", f"{server.url}/paid-moved", data=BODY, auth=auth))
        for _ in range(3):
            assert session.send(prepared, timeout=30).content == BODY


def test_threads_that_share_one_auth_get_their_own_answers(server: PowServer) -> None:
    auth = PowAuth(KEY)
    bodies = [b"%d" % number * 1000 for number in range(40)]

    def content_of(body: bytes) -> bytes:
        return requests.post(f"{server.url}/paid", data=io.BytesIO(body), auth=auth, timeout=30).content

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(content_of, bodies)) == bodies
    assert len(server.requests) == 80


def test_threads_can_share_a_session(server: PowServer) -> None:
    with requests.Session() as session:
        session.auth = PowAuth(KEY)
        answers: list[bytes] = []

        def post_number(number: int) -> None:
            answers.append(session.post(f"{server.url}/paid", data=b"%d" % number, timeout=30).content)

        threads = [threading.Thread(target=post_number, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == [b"%d" % number for number in range(8)]


@pytest.mark.parametrize("slashes", ["////", "http:////", "HTTP:////", "////user@"])
def test_a_redirect_whose_slashes_requests_reads_in_its_own_way_gets_no_key(server: PowServer, slashes: str) -> None:
    with running(PowServer()) as stranger:
        server.target = stranger.url.replace("http://", slashes) + "/free"
        assert post(server, "moved").status_code == 200
        (request,) = stranger.requests
    assert "x-api-key" not in request.headers


def test_a_redirect_within_the_origin_is_paid_for(server: PowServer) -> None:
    server.target = "/paid"
    assert post(server, "moved", io.BytesIO(BODY)).content == BODY
    assert server.paths() == ["/moved", "/paid", "/paid"]
    assert {(request.headers["x-api-key"], request.body) for request in server.requests} == {(KEY, BODY)}


@pytest.mark.parametrize("prepaid", [False, True])
def test_after_a_lost_connection_the_same_solution_can_be_sent_again(server: PowServer, prepaid: bool) -> None:
    with requests.Session() as session:
        session.auth = PowAuth(KEY)
        if prepaid:
            server.refusals = 0
            session.post(f"{server.url}/lost", data=b"before", timeout=30)
            server.refusals = 1
        with pytest.raises(requests.ConnectionError) as caught:
            session.post(f"{server.url}/lost", data=BODY, timeout=30)
        assert not isinstance(caught.value, ClientError)
        request = caught.value.request
        assert isinstance(request, requests.PreparedRequest)
        assert session.send(request, timeout=30).content == BODY
    first, second = server.requests[-2:]
    assert first.headers["pow-solution"] == second.headers["pow-solution"]
    assert first.headers["pow-solution"].startswith("prepaid ") == prepaid
    assert first.body == second.body == BODY


def test_the_request_of_another_library_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"calpow\.client\.httpx"):
        httpx.get("http://127.0.0.1:9/predictions/digits", auth=PowAuth("key"))  # type: ignore[arg-type]
