"""What every adapter promises, requests and httpx, sync and async: one suite for all, on a server that really asks."""

import importlib
import json
import re
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from calpow.client import (
    ChallengeExpired,
    ChallengeUnreadable,
    ClientError,
    HeadersDropped,
    TimeLimitExceeded,
    UnsolvableInTime,
    UnusableKey,
    WorkLimitExceeded,
)
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.solving.solver import Progress
from calpow.puzzle.wire import MAX_TOKEN_LENGTH, Challenge
from tests.support.askers import ASKERS, Answer, Ask, Asker
from tests.support.pow_server import PowServer, running

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 300


@pytest.fixture
def server() -> Iterator[PowServer]:
    with running(PowServer()) as server:
        yield server


@pytest.fixture(params=ASKERS, ids=lambda asker: asker.name)
def asker(request: pytest.FixtureRequest) -> Asker:
    made: Asker = request.param
    return made


def no_work(step: Progress) -> None:
    raise AssertionError("something was solved")


class Solved:
    """Counts the puzzles that were begun."""

    def __init__(self) -> None:
        self.begun = 0

    def __call__(self, step: Progress) -> None:
        self.begun += step.found == 0


def test_a_request_just_works(asker: Asker, server: PowServer) -> None:
    answer = asker.post(f"{server.url}/paid", BODY)
    assert (answer.status, answer.content, answer.history) == (200, BODY, [402])
    assert [(seen.headers["x-api-key"], seen.body) for seen in server.seen] == [(KEY, BODY)] * 2


def test_what_costs_nothing_is_returned_at_once(asker: Asker, server: PowServer) -> None:
    answer = asker.post(f"{server.url}/free", BODY, progress=no_work)
    assert (answer.content, answer.history) == (BODY, [])


def test_the_challenge_may_be_only_in_the_header(asker: Asker, server: PowServer) -> None:
    assert asker.post(f"{server.url}/header", BODY).content == BODY


@pytest.mark.parametrize(("path", "status"), [("bare", 402), ("fault", 404)])
def test_other_refusals_are_returned_as_they_are(asker: Asker, server: PowServer, path: str, status: int) -> None:
    assert asker.post(f"{server.url}/{path}", progress=no_work).status == status


def test_solutions_that_came_too_late_bring_new_challenges_which_are_solved(asker: Asker, server: PowServer) -> None:
    server.refusals = 2
    assert asker.post(f"{server.url}/late", BODY).history == [402] * 3


def test_a_server_that_is_never_satisfied_is_given_up_by_work(asker: Asker, server: PowServer) -> None:
    solved, server.seconds = Solved(), 0.0
    with pytest.raises(WorkLimitExceeded, match="the last solution was refused: no stamps are good enough") as caught:
        asker.post(f"{server.url}/never", max_hashes=20, progress=solved)
    assert (solved.begun, len(server.seen)) == (10, 11)
    assert caught.value.response.status_code == 402


def test_a_server_that_is_never_satisfied_is_given_up_by_time(asker: Asker, server: PowServer) -> None:
    began = time.monotonic()
    with pytest.raises(TimeLimitExceeded, match=re.escape("more than the limit of 0.5 s")) as caught:
        asker.post(f"{server.url}/never", max_seconds=0.5)
    assert 0.4 < time.monotonic() - began < 8
    assert caught.value.response.status_code == 402


def test_of_too_little_work_the_rest_alone_is_solved_and_sent(asker: Asker, server: PowServer) -> None:
    server.refusals = 3
    answer = asker.post(f"{server.url}/rising", BODY, max_hashes=8192)
    assert (answer.content, answer.history) == (BODY, [402] * 4)
    solutions = [seen.headers["pow-solution"].split() for seen in server.seen[1:]]
    assert len({stamp for solution in solutions for stamp in solution}) == sum(map(len, solutions))
    assert sum(Challenge.from_token(token).puzzle.expected_hashes for token, *_ in solutions) == 8192
    assert server.passes == 1


def test_the_rest_counts_against_the_limit_of_work(asker: Asker, server: PowServer) -> None:
    solved = Solved()
    with pytest.raises(WorkLimitExceeded, match="about 2,048 hashes, more than the limit of 2,047"):
        asker.post(f"{server.url}/rising", max_hashes=2047, progress=solved)
    assert solved.begun == 1


def test_the_rest_of_a_withheld_answer_is_paid(asker: Asker, server: PowServer) -> None:
    server.due = 5000
    answer = asker.post(f"{server.url}/dear", BODY)
    assert (answer.content, answer.history, server.passes) == (BODY, [402, 402], 2)
    solved = sum(
        Challenge.from_token(seen.headers["pow-solution"].split()[0]).puzzle.expected_hashes for seen in server.seen[1:]
    )
    assert 5000 <= solved < 5300


@pytest.mark.parametrize(
    ("path", "status", "problem"), [("large", 413, "too-large"), ("unexplained", 403, "explanation-refused")]
)
def test_what_no_work_would_change_is_handed_over(
    asker: Asker, server: PowServer, path: str, status: int, problem: str
) -> None:
    answer = asker.post(f"{server.url}/{path}", progress=no_work)
    assert (answer.status, answer.history) == (status, [])
    assert json.loads(answer.content)["type"] == f"urn:calpow:problem:{problem}"


@pytest.mark.parametrize("path", ["priced", "paid"])
def test_200_identical_requests_at_once_are_all_answered(asker: Asker, server: PowServer, path: str) -> None:
    together = Barrier(200)

    def ask_together(ask: Ask) -> Answer:
        together.wait()
        return ask(f"{server.url}/{path}", BODY)

    with asker.asking() as ask, ThreadPoolExecutor(200) as threads:
        ask(f"{server.url}/{path}", BODY)
        answers = list(threads.map(ask_together, [ask] * 200))
    assert [answer.content for answer in answers] == [BODY] * 200
    assert [len(answer.history) for answer in answers] == [path == "paid"] * 200
    assert server.passes == 201
    solutions = [str(answer.solution).split() for answer in answers]
    stamps = [stamp for _, *stamps in solutions for stamp in stamps]
    assert len(set(stamps)) == len(stamps)


def test_a_token_is_read_up_to_5120_characters(asker: Asker, server: PowServer) -> None:
    while (missing := MAX_TOKEN_LENGTH - len(server.challenge().token)) > 1:  # base64 leaves one out
        server.padding += max(1, missing * 3 // 4)
    assert asker.post(f"{server.url}/paid", BODY).content == BODY
    with pytest.raises(ChallengeUnreadable, match="not a JWT"):
        asker.post(f"{server.url}/lengthy", progress=no_work)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("broken", "'algorithm' is missing"),
        ("foreign", "upgrade calpow"),
        ("absurd", "60 bits"),
        ("unsigned", "not a JWT"),
    ],
)
def test_a_challenge_that_cannot_be_solved_is_named_and_costs_nothing(
    asker: Asker, server: PowServer, path: str, reason: str
) -> None:
    with pytest.raises(ChallengeUnreadable, match=reason) as caught:
        asker.post(f"{server.url}/{path}", progress=no_work)
    assert caught.value.response.status_code == 402
    assert str(caught.value.request.url) == f"{server.url}/{path}"
    assert len(server.seen) == 1


def test_every_error_is_one_that_users_of_the_library_catch(asker: Asker, server: PowServer) -> None:
    with pytest.raises(asker.errors) as caught:
        asker.post(f"{server.url}/heavy", progress=no_work)
    assert isinstance(caught.value, WorkLimitExceeded)
    assert isinstance(caught.value, ClientError)
    assert isinstance(caught.value, CalpowError)
    assert caught.value.limit == 2**32
    with pytest.raises(asker.errors) as caught:
        asker.auth("caf\u00e9")
    assert isinstance(caught.value, UnusableKey)


def test_the_limits_hold_for_all_redirects_of_a_request_together(asker: Asker, server: PowServer) -> None:
    server.target = "/paid-moved"
    with pytest.raises(asker.errors):
        asker.post(f"{server.url}/paid-moved", max_hashes=3 * (server.count << server.bits) - 1)
    assert len({request.headers.get("pow-solution") for request in server.seen} - {None}) <= 2


def test_work_within_the_limit_is_done_and_no_more(asker: Asker, server: PowServer) -> None:
    server.bits, server.count = 5, 16
    assert asker.post(f"{server.url}/paid", max_hashes=512).status == 200
    with pytest.raises(WorkLimitExceeded, match="512 hashes, more than the limit of 511"):
        asker.post(f"{server.url}/paid", max_hashes=511, progress=no_work)
    solved = Solved()
    with pytest.raises(WorkLimitExceeded, match=r"1,024"):
        asker.post(f"{server.url}/late", max_hashes=1023, progress=solved)
    assert solved.begun == 1


def test_work_that_takes_too_long_is_ended(asker: Asker, server: PowServer) -> None:
    began = time.monotonic()
    with pytest.raises(TimeLimitExceeded, match=re.escape("more than the limit of 0.3 s")) as caught:
        asker.post(f"{server.url}/slow", max_hashes=2**40, max_seconds=0.3)
    assert time.monotonic() - began < 8
    assert caught.value.limit == 0.3


def test_what_expires_before_it_can_be_solved_is_named(asker: Asker, server: PowServer) -> None:
    began = time.monotonic()
    with pytest.raises(UnsolvableInTime, match="expires in") as caught:
        asker.post(f"{server.url}/brief", max_hashes=2**40)
    assert time.monotonic() - began < 8
    assert 0 < caught.value.seconds_left <= 2


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_clock_that_is_an_hour_off_does_no_harm_where_the_server_sends_the_date(
    asker: Asker, server: PowServer, ahead: float
) -> None:
    server.ahead = ahead
    with asker.asking() as ask:
        answers = [ask(f"{server.url}/priced", b"%d" % number) for number in range(4)]
    assert [(answer.status, answer.history) for answer in answers] == [(200, [402]), *[(200, [])] * 3]


def test_without_a_date_an_expired_challenge_is_one_by_the_own_clock(asker: Asker, server: PowServer) -> None:
    server.ahead, server.dated = -3600.0, False
    with pytest.raises(ChallengeExpired, match="this machine's clock, for the server sends no Date") as caught:
        asker.post(f"{server.url}/paid", progress=no_work)
    assert 3500 < caught.value.seconds < 3600
    server.ahead = 3600.0
    assert asker.post(f"{server.url}/paid").status == 200


def test_a_challenge_that_was_expired_when_it_was_sent_is_not_solved(asker: Asker, server: PowServer) -> None:
    server.lifetime = -10.0
    with pytest.raises(ChallengeExpired, match="by the server's own clock"):
        asker.post(f"{server.url}/paid", progress=no_work)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("path", "header", "solved"),
    [("hollow", "WWW-Authenticate", 0), ("keyless", "X-Api-Key", 0), ("deaf", "PoW-Solution", 1)],
)
def test_who_drops_our_headers_is_told_from_a_server_that_refuses(
    asker: Asker, server: PowServer, path: str, header: str, solved: int
) -> None:
    count = Solved()
    with pytest.raises(HeadersDropped, match=f"something on the way .*drops the header {header}"):
        asker.post(f"{server.url}/{path}", progress=count)
    assert count.begun == solved


def test_a_dropped_solution_is_noticed_also_where_it_was_prepaid(asker: Asker, server: PowServer) -> None:
    with asker.asking() as ask:
        ask(f"{server.url}/priced", b"1")
        with pytest.raises(HeadersDropped, match="PoW-Solution"):
            ask(f"{server.url}/priced?dropped", b"2")


@pytest.mark.parametrize("busy", [429, 503])
def test_a_busy_server_is_asked_again_when_it_said(asker: Asker, server: PowServer, busy: int) -> None:
    server.busy = busy
    began = time.monotonic()
    answer = asker.post(f"{server.url}/busy", BODY)
    assert 1 <= time.monotonic() - began < 5
    assert (answer.content, answer.history) == (BODY, [busy, 402])


@pytest.mark.parametrize(
    ("busy", "retry_after", "max_wait"),
    [(503, None, 30), (503, "soon", 30), (503, "3", 2), (503, "1", 0), (429, "31", 30), (500, "1", 30), (502, "1", 30)],
)
def test_nobody_waits_for_longer_than_allowed_or_where_nothing_says_that_it_helps(
    asker: Asker, server: PowServer, busy: int, retry_after: str | None, max_wait: float
) -> None:
    server.busy, server.retry_after = busy, retry_after
    began = time.monotonic()
    assert asker.post(f"{server.url}/busy", max_wait=max_wait).status == busy
    assert time.monotonic() - began < 0.9
    assert len(server.seen) == 1


def test_the_connection_is_kept(asker: Asker, server: PowServer) -> None:
    with asker.asking() as ask:
        for number in range(3):
            ask(f"{server.url}/paid", b"%d" % number)
    assert server.connections == 1


def test_cookies_that_come_with_a_challenge_go_with_its_solution(asker: Asker, server: PowServer) -> None:
    assert asker.post(f"{server.url}/cookie", BODY).content == BODY


def test_threads_share_one_client(asker: Asker, server: PowServer) -> None:
    bodies = [b"%d" % number * 1000 for number in range(24)]
    with asker.asking() as ask, ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda body: ask(f"{server.url}/priced", body), bodies))
    assert [answer.content for answer in answers] == bodies


@pytest.mark.parametrize("path", ["moved", "paid-moved"])
def test_a_redirect_to_another_origin_gets_neither_key_nor_solution(asker: Asker, server: PowServer, path: str) -> None:
    with running(PowServer()) as stranger:
        server.target = f"{stranger.url}/free"
        assert asker.post(f"{server.url}/{path}", BODY).content == BODY
        (request,) = stranger.seen
    assert {"x-api-key", "pow-solution"}.isdisjoint(request.headers)


def test_no_work_is_done_for_another_origin(asker: Asker, server: PowServer) -> None:
    with running(PowServer()) as stranger:
        server.target = f"{stranger.url}/paid"
        assert asker.post(f"{server.url}/moved", progress=no_work).status == 402
        assert len(stranger.seen) == 1


def test_a_redirect_within_the_origin_is_paid_for(asker: Asker, server: PowServer) -> None:
    server.target = "/paid"
    assert asker.post(f"{server.url}/moved", BODY).content == BODY
    assert server.paths() == ["/moved", "/paid", "/paid"]
    assert {(request.headers["x-api-key"], request.body) for request in server.seen} == {(KEY, BODY)}


def test_a_redirect_after_payment_starts_without_the_spent_solution(asker: Asker, server: PowServer) -> None:
    server.target = "/paid"
    assert asker.post(f"{server.url}/paid-moved", BODY).content == BODY
    assert ["pow-solution" in request.headers for request in server.seen] == [False, True, False, True]


def test_a_body_that_can_be_read_once_is_refused_before_anything_is_sent(asker: Asker, server: PowServer) -> None:
    async def parts() -> Any:
        yield BODY

    body = parts() if asker.name in ("asyncio", "trio") else iter([BODY])
    with pytest.raises(ClientError, match="can be read only once") as caught:
        asker.post(f"{server.url}/paid", body, progress=no_work)
    assert isinstance(caught.value, asker.errors)
    assert server.seen == []


def test_an_error_that_progress_raises_ends_the_work_and_reaches_the_caller(asker: Asker, server: PowServer) -> None:
    def enough(step: Progress) -> None:
        raise TimeoutError("no patience")

    with pytest.raises(TimeoutError, match="no patience"):
        asker.post(f"{server.url}/paid", progress=enough)


def test_a_server_that_is_down_is_the_library_s_own_error(asker: Asker) -> None:
    with pytest.raises(asker.errors) as caught:
        asker.post("http://127.0.0.1:9/paid")
    assert not isinstance(caught.value, ClientError)


@pytest.mark.parametrize("module", ["calpow.client.requests", "calpow.client.httpx"])
def test_the_examples_are_true(server: PowServer, module: str) -> None:
    text = importlib.import_module(module).__doc__ or ""
    lines = [line for line in text.splitlines() if not line or line.startswith("    ")]
    names: dict[str, Any] = {"key": KEY, "url": f"{server.url}/paid", "image": BODY}
    exec(textwrap.dedent("\n".join(lines)), names)
    assert names["answer"].content == BODY
    assert len(server.seen) == 2 * text.count(".post(")
