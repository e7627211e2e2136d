"""Every adapter names what is wrong, in the tree of its library's errors."""

from typing import Any

import pytest

from calpow.client import (
    ChallengeExpired,
    ChallengeUnreadable,
    ClientError,
    HeadersDropped,
    UnusableKey,
    WorkLimitExceeded,
)
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.wire import MAX_TOKEN_LENGTH
from tests.support.adapters import Adapter
from tests.support.pow_server import PowServer
from tests.support.progress import PuzzleCount, no_work

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 300


def test_a_token_is_read_up_to_5120_characters(adapter: Adapter, server: PowServer) -> None:
    while (missing := MAX_TOKEN_LENGTH - len(server.challenge().token)) > 1:  # base64 leaves one out
        server.padding += max(1, missing * 3 // 4)
    assert adapter.post(f"{server.url}/paid", BODY).content == BODY
    with pytest.raises(ChallengeUnreadable, match="not a JWT"):
        adapter.post(f"{server.url}/lengthy", progress=no_work)


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
    adapter: Adapter, server: PowServer, path: str, reason: str
) -> None:
    with pytest.raises(ChallengeUnreadable, match=reason) as caught:
        adapter.post(f"{server.url}/{path}", progress=no_work)
    assert caught.value.response.status_code == 402
    assert str(caught.value.request.url) == f"{server.url}/{path}"
    assert len(server.requests) == 1


def test_every_error_is_one_that_users_of_the_library_catch(adapter: Adapter, server: PowServer) -> None:
    with pytest.raises(adapter.errors) as caught:
        adapter.post(f"{server.url}/heavy", progress=no_work)
    assert isinstance(caught.value, WorkLimitExceeded)
    assert isinstance(caught.value, ClientError)
    assert isinstance(caught.value, CalpowError)
    assert caught.value.limit == 2**32
    with pytest.raises(adapter.errors) as caught:
        adapter.auth("caf\u00e9")
    assert isinstance(caught.value, UnusableKey)


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_clock_that_is_an_hour_off_does_no_harm_where_the_server_sends_the_date(
    adapter: Adapter, server: PowServer, ahead: float
) -> None:
    server.ahead = ahead
    with adapter.session() as post:
        answers = [post(f"{server.url}/priced", b"%d" % number) for number in range(4)]
    assert [(answer.status, answer.history) for answer in answers] == [(200, [402]), *[(200, [])] * 3]


def test_without_a_date_an_expired_challenge_is_one_by_the_own_clock(adapter: Adapter, server: PowServer) -> None:
    server.ahead, server.dated = -3600.0, False
    with pytest.raises(ChallengeExpired, match="this machine's clock, for the server sends no Date") as caught:
        adapter.post(f"{server.url}/paid", progress=no_work)
    assert 3500 < caught.value.seconds < 3600
    server.ahead = 3600.0
    assert adapter.post(f"{server.url}/paid").status == 200


def test_a_challenge_that_was_expired_when_it_was_sent_is_not_solved(adapter: Adapter, server: PowServer) -> None:
    server.lifetime = -10.0
    with pytest.raises(ChallengeExpired, match="by the server's own clock"):
        adapter.post(f"{server.url}/paid", progress=no_work)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("path", "header", "solved"),
    [("hollow", "WWW-Authenticate", 0), ("keyless", "X-Api-Key", 0), ("deaf", "PoW-Solution", 1)],
)
def test_dropped_headers_are_distinguished_from_refusals(
    adapter: Adapter, server: PowServer, path: str, header: str, solved: int
) -> None:
    count = PuzzleCount()
    with pytest.raises(HeadersDropped, match=f"something on the way .*drops the header {header}"):
        adapter.post(f"{server.url}/{path}", progress=count)
    assert count.begun == solved


def test_a_dropped_solution_is_noticed_also_where_it_was_prepaid(adapter: Adapter, server: PowServer) -> None:
    with adapter.session() as post:
        post(f"{server.url}/priced", b"1")
        with pytest.raises(HeadersDropped, match="PoW-Solution"):
            post(f"{server.url}/priced?dropped", b"2")


def test_a_body_that_can_be_read_once_is_refused_before_anything_is_sent(adapter: Adapter, server: PowServer) -> None:
    async def parts() -> Any:
        yield BODY

    body = parts() if adapter.name in ("asyncio", "trio") else iter([BODY])
    with pytest.raises(ClientError, match="can be read only once") as caught:
        adapter.post(f"{server.url}/paid", body, progress=no_work)
    assert isinstance(caught.value, adapter.errors)
    assert server.requests == []


def test_a_server_that_is_down_is_the_library_s_own_error(adapter: Adapter) -> None:
    with pytest.raises(adapter.errors) as caught:
        adapter.post("http://127.0.0.1:9/paid")
    assert not isinstance(caught.value, ClientError)
