"""PowAuth against a server that really asks for work: every body, every refusal, no surprise."""

import io
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
import requests

from calpow.client import (
    BodyNotRewindable,
    ChallengeUnreadable,
    ClientError,
    PowAuth,
    UnusableKey,
    WorkLimitExceeded,
)
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.solving.solver import Progress
from tests.support.pow_server import PowServer, running

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 300


@pytest.fixture
def server() -> Iterator[PowServer]:
    with running(PowServer()) as server:
        yield server


def post(server: PowServer, path: str, body: Any = BODY, **options: Any) -> requests.Response:
    return requests.post(f"{server.url}/{path}", data=body, timeout=30, auth=PowAuth(KEY, **options))


def no_work(step: Progress) -> None:
    raise AssertionError("something was solved")


class OnceOnly(io.RawIOBase):
    """A stream like a pipe's."""

    def readable(self) -> bool:
        return True


class Again:
    """A collection of parts, read from the start every time."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([BODY[:1000], BODY[1000:]])


def test_a_request_with_powauth_just_works(server: PowServer) -> None:
    response = post(server, "paid")
    assert response.status_code == 200
    assert response.content == BODY
    assert [request.headers["x-api-key"] for request in server.seen] == [KEY, KEY]


@pytest.mark.parametrize(
    "make",
    [
        lambda: BODY,
        lambda: b"",
        lambda: None,
        lambda: "text",
        lambda: bytearray(BODY),
        lambda: memoryview(BODY),
        lambda: io.BytesIO(BODY),
        lambda: io.StringIO("text"),
        Again,
    ],
    ids=["bytes", "empty", "none", "str", "bytearray", "memoryview", "BytesIO", "StringIO", "iterable"],
)
def test_any_body_that_can_be_read_twice_arrives_twice_the_same(server: PowServer, make: Callable[[], Any]) -> None:
    response = post(server, "paid", make())
    first, second = server.seen
    assert response.status_code == 200
    assert response.content == first.body == second.body
    assert first.headers.get("content-length") == second.headers.get("content-length")


def test_a_file_is_sent_from_where_it_stands(server: PowServer, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(b"header" + BODY)
    with path.open("rb") as file:
        file.seek(6)
        assert post(server, "paid", file).content == BODY
    assert [request.body for request in server.seen] == [BODY, BODY]


def test_an_unbuffered_file_is_rewound_too(server: PowServer) -> None:
    with TemporaryFile(buffering=0) as file:
        file.write(BODY)
        file.seek(0)
        assert post(server, "paid", file).content == BODY


def test_forms_and_multipart_files_are_sent_again_as_they_were(server: PowServer) -> None:
    forms: list[dict[str, Any]] = [{"data": {"a": "b"}}, {"json": {"a": 1}}, {"files": {"data": io.BytesIO(BODY)}}]
    for options in forms:
        response = requests.post(f"{server.url}/paid", auth=PowAuth(KEY), timeout=30, **options)
        first, second = server.seen[-2:]
        assert response.content == first.body == second.body != b""
        assert first.headers["content-type"] == second.headers["content-type"]


@pytest.mark.parametrize("make", [lambda: (part for part in [BODY]), lambda: iter([BODY]), OnceOnly])
def test_a_body_that_can_be_read_once_is_refused_before_anything_is_sent(
    server: PowServer, make: Callable[[], Any]
) -> None:
    with pytest.raises(BodyNotRewindable, match="read it into bytes"):
        post(server, "paid", make(), progress=no_work)
    assert server.seen == []


def test_an_answer_that_costs_nothing_is_returned_at_once(server: PowServer) -> None:
    response = post(server, "free", progress=no_work)
    assert response.content == BODY
    assert response.history == []
    assert server.paths() == ["/free"]


def test_the_402_is_in_the_history_and_both_responses_know_their_request(server: PowServer) -> None:
    response = post(server, "paid")
    (challenged,) = response.history
    assert challenged.status_code == 402
    assert "PoW-Solution" not in challenged.request.headers
    assert response.request.headers["PoW-Solution"].startswith(challenged.json()["challenge"]["token"])
    assert timedelta(0) < response.elapsed < timedelta(seconds=30)


def test_a_challenge_that_is_only_in_the_header_is_solved(server: PowServer) -> None:
    assert post(server, "header").content == BODY


def test_a_402_without_a_challenge_is_returned_as_it_is(server: PowServer) -> None:
    response = post(server, "bare", progress=no_work)
    assert (response.status_code, response.content) == (402, b"subscribe first")


def test_another_refusal_is_returned_as_it_is(server: PowServer) -> None:
    assert post(server, "fault", progress=no_work).status_code == 404


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_solution_that_came_too_late_brings_a_new_challenge_which_is_solved(server: PowServer, refusals: int) -> None:
    server.refusals = refusals
    response = post(server, "late", io.BytesIO(BODY))
    assert response.content == BODY
    assert [past.status_code for past in response.history] == [402] * (refusals + 1)
    assert {request.body for request in server.seen} == {BODY}


def test_a_server_that_is_never_satisfied_is_given_up(server: PowServer) -> None:
    server.refusals = 1000
    reason = "the last solution was refused: the challenge has expired: ask again"
    with pytest.raises(WorkLimitExceeded, match=reason) as caught:
        post(server, "late", max_hashes=1024)
    assert len(server.seen) == 5
    assert caught.value.response is not None
    assert caught.value.response.status_code == 402


def test_more_work_than_allowed_is_refused_before_any_is_done(server: PowServer) -> None:
    server.bits, server.count = 10, 16
    with pytest.raises(WorkLimitExceeded, match=r"about 16,384 hashes, more than the limit of 16,383") as caught:
        post(server, "paid", max_hashes=16_383, progress=no_work)
    assert (caught.value.expected_hashes, caught.value.limit) == (16_384, 16_383)
    assert caught.value.response is not None
    assert len(server.seen) == 1


def test_work_up_to_the_limit_is_done(server: PowServer) -> None:
    server.bits, server.count = 5, 16
    assert post(server, "paid", max_hashes=512).status_code == 200


def test_the_limit_holds_for_all_challenges_of_a_request_together(server: PowServer) -> None:
    server.bits, server.count = 5, 16
    with pytest.raises(WorkLimitExceeded, match=r"1,024"):
        post(server, "late", max_hashes=1023)
    assert len(server.seen) == 2


def test_absurd_work_is_beyond_the_default_limit(server: PowServer) -> None:
    with pytest.raises(WorkLimitExceeded):
        post(server, "heavy", progress=no_work)


@pytest.mark.parametrize(("path", "reason"), [("broken", "'algorithm' is missing"), ("foreign", "upgrade calpow")])
def test_a_challenge_that_cannot_be_read_is_a_clear_error(server: PowServer, path: str, reason: str) -> None:
    with pytest.raises(ChallengeUnreadable, match=reason):
        post(server, path, progress=no_work)


def test_every_error_is_one_that_users_of_requests_catch(server: PowServer) -> None:
    raised: list[tuple[type[ClientError], Callable[[], object]]] = [
        (BodyNotRewindable, lambda: post(server, "paid", iter([BODY]))),
        (ChallengeUnreadable, lambda: post(server, "broken")),
        (UnusableKey, lambda: PowAuth("")),
        (WorkLimitExceeded, lambda: post(server, "heavy")),
    ]
    for kind, provoke in raised:
        with pytest.raises(requests.RequestException) as caught:
            provoke()
        assert isinstance(caught.value, kind)
        assert isinstance(caught.value, ClientError)
        assert isinstance(caught.value, CalpowError)
        assert type(caught.value).__name__ == kind.__name__


def test_an_error_carries_request_and_response(server: PowServer) -> None:
    with pytest.raises(WorkLimitExceeded) as caught:
        post(server, "heavy")
    assert caught.value.response.status_code == 402
    assert caught.value.request.url == f"{server.url}/heavy"


def test_an_error_comes_out_of_another_process_with_its_evidence(server: PowServer) -> None:
    with pytest.raises(WorkLimitExceeded) as caught:
        post(server, "heavy")
    error = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(error, WorkLimitExceeded)
    assert isinstance(error, requests.RequestException)
    assert (error.limit, str(error)) == (2**32, str(caught.value))


@pytest.mark.parametrize("key", ["", " cp_1_s", "cp_1_s\n", "cp_1_s\r\nX: y", "cp_1_\u00e9", "\u0661"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(UnusableKey) as caught:
        PowAuth(key)
    assert "cp_1" not in str(caught.value)


def test_the_key_is_not_in_the_repr() -> None:
    assert KEY not in repr(PowAuth(KEY))


def test_without_a_key_the_caller_s_own_identity_is_left_alone(server: PowServer) -> None:
    response = requests.post(f"{server.url}/paid", auth=PowAuth(None), headers={"X-User": "ada"}, timeout=30)
    assert response.status_code == 200
    assert [("x-api-key" in seen.headers, seen.headers["x-user"]) for seen in server.seen] == [(False, "ada")] * 2


def test_progress_is_told(server: PowServer) -> None:
    told: list[tuple[int, int]] = []
    post(server, "paid", progress=lambda step: told.append((step.found, step.count)))
    assert told == [(found, 4) for found in range(5)]


def test_progress_can_end_the_work(server: PowServer) -> None:
    def enough(step: Progress) -> None:
        raise TimeoutError("no patience")

    with pytest.raises(TimeoutError, match="no patience"):
        post(server, "paid", progress=enough)


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
    assert server.seen[-1].headers["cookie"] == "own=1; route=a"


def test_a_cookie_header_written_by_hand_is_kept(server: PowServer) -> None:
    requests.post(f"{server.url}/cookie", auth=PowAuth(KEY), headers={"Cookie": "mine=1"}, timeout=30)
    assert [request.headers["cookie"] for request in server.seen] == ["mine=1", "mine=1"]


def test_a_streamed_answer_is_left_to_the_caller_to_read(server: PowServer) -> None:
    with requests.post(f"{server.url}/paid", data=BODY, auth=PowAuth(KEY), stream=True, timeout=30) as response:
        assert b"".join(response.iter_content(1000)) == BODY


def test_hooks_of_the_caller_see_the_answer(server: PowServer) -> None:
    seen: list[int] = []
    requests.post(
        f"{server.url}/paid",
        auth=PowAuth(KEY),
        hooks={"response": lambda response, **_: seen.append(response.status_code)},
        timeout=30,
    )
    assert seen == [200]


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

    def ask(body: bytes) -> bytes:
        return requests.post(f"{server.url}/paid", data=io.BytesIO(body), auth=auth, timeout=30).content

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, bodies)) == bodies
    assert len(server.seen) == 80


def test_threads_can_share_a_session(server: PowServer) -> None:
    with requests.Session() as session:
        session.auth = PowAuth(KEY)
        answers: list[bytes] = []

        def ask(number: int) -> None:
            answers.append(session.post(f"{server.url}/paid", data=b"%d" % number, timeout=30).content)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == [b"%d" % number for number in range(8)]


@pytest.mark.parametrize("path", ["moved", "paid-moved"])
def test_a_redirect_to_another_origin_gets_neither_key_nor_solution(server: PowServer, path: str) -> None:
    with running(PowServer()) as stranger:
        server.target = f"{stranger.url}/free"
        assert post(server, path).content == BODY
        (request,) = stranger.seen
    assert "x-api-key" not in request.headers
    assert "pow-solution" not in request.headers


@pytest.mark.parametrize("slashes", ["////", "http:////", "HTTP:////", "////user@"])
def test_a_redirect_whose_slashes_requests_reads_in_its_own_way_gets_no_key(server: PowServer, slashes: str) -> None:
    with running(PowServer()) as stranger:
        server.target = stranger.url.replace("http://", slashes) + "/free"
        assert post(server, "moved").status_code == 200
        (request,) = stranger.seen
    assert "x-api-key" not in request.headers


def test_no_work_is_done_for_another_origin(server: PowServer) -> None:
    with running(PowServer()) as stranger:
        server.target = f"{stranger.url}/paid"
        response = post(server, "moved", progress=no_work)
        assert len(stranger.seen) == 1
    assert response.status_code == 402


def test_a_redirect_within_the_origin_is_paid_for(server: PowServer) -> None:
    server.target = "/paid"
    assert post(server, "moved", io.BytesIO(BODY)).content == BODY
    assert server.paths() == ["/moved", "/paid", "/paid"]
    assert {(request.headers["x-api-key"], request.body) for request in server.seen} == {(KEY, BODY)}


def test_a_redirect_after_payment_starts_without_the_spent_solution(server: PowServer) -> None:
    server.target = "/paid"
    assert post(server, "paid-moved").content == BODY
    assert ["pow-solution" in request.headers for request in server.seen] == [False, True, False, True]


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
    first, second = server.seen[-2:]
    assert first.headers["pow-solution"] == second.headers["pow-solution"]
    assert first.headers["pow-solution"].startswith("prepaid ") == prepaid
    assert first.body == second.body == BODY


def test_a_server_that_is_down_is_an_error_of_requests(server: PowServer) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.post("http://127.0.0.1:9/paid", auth=PowAuth(KEY), timeout=5)
