"""Every adapter keeps the key from other origins, and pays within its own."""

import pytest

from tests.support.adapters import Adapter
from tests.support.pow_server import PowServer, running
from tests.support.progress import no_work

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 300


@pytest.mark.parametrize("path", ["moved", "paid-moved"])
def test_another_origin_gets_neither_key_nor_solution(adapter: Adapter, server: PowServer, path: str) -> None:
    with running(PowServer()) as stranger:
        server.target = f"{stranger.url}/free"
        assert adapter.post(f"{server.url}/{path}", BODY).content == BODY
        (request,) = stranger.requests
    assert {"x-api-key", "pow-solution"}.isdisjoint(request.headers)


def test_no_work_is_done_for_another_origin(adapter: Adapter, server: PowServer) -> None:
    with running(PowServer()) as stranger:
        server.target = f"{stranger.url}/paid"
        assert adapter.post(f"{server.url}/moved", progress=no_work).status == 402
        assert len(stranger.requests) == 1


def test_a_redirect_within_the_origin_is_paid_for(adapter: Adapter, server: PowServer) -> None:
    server.target = "/paid"
    assert adapter.post(f"{server.url}/moved", BODY).content == BODY
    assert server.paths() == ["/moved", "/paid", "/paid"]
    assert {(request.headers["x-api-key"], request.body) for request in server.requests} == {(KEY, BODY)}


def test_a_redirect_after_payment_starts_without_the_spent_solution(adapter: Adapter, server: PowServer) -> None:
    server.target = "/paid"
    assert adapter.post(f"{server.url}/paid-moved", BODY).content == BODY
    assert ["pow-solution" in request.headers for request in server.requests] == [False, True, False, True]
