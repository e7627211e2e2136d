"""The identity of a client: a key or a token goes with each sending, to one origin, and nowhere else."""

from collections.abc import Callable

import pytest
import requests

from calpow.client import HeadersDropped, PowAuth, UnusableKey
from calpow.client.caller import Caller
from calpow.client.httpx import PowAuth as HttpxPowAuth
from calpow.puzzle.stamp import Stamp
from tests.support.adapters import Adapter
from tests.support.pow_server import PowServer, running

SUBJECT = "Nq0x5cUWkkyQb0hXx1mHqg"


def numbered() -> Callable[[], str]:
    """Return a source of tokens, each of which is another one."""
    numbers = iter(range(1000))
    return lambda: f"e30.{next(numbers)}.sig"


def resources(server: PowServer) -> set[str]:
    """Return the resources of the prepaid stamps that a server got."""
    headers = [request.headers.get("pow-solution", "") for request in server.requests]
    return {Stamp.parse(header.split()[1]).resource for header in headers if header.startswith("prepaid ")}


def test_a_fresh_token_goes_with_each_sending_and_stamps_name_the_subject_that_the_server_announces(
    server: PowServer,
) -> None:
    server.subject = SUBJECT
    auth = PowAuth(token=numbered())
    answers = [requests.post(f"{server.url}/named", data=str(n), auth=auth, timeout=10).text for n in range(4)]
    assert answers == ["0", "1", "2", "3"]
    assert [request.headers["pow-identity"] for request in server.requests] == [f"e30.{n}.sig" for n in range(5)]
    assert resources(server) == {f"echo@9f2c41/{SUBJECT}"}
    assert not any(request.key for request in server.requests)


def test_a_subject_that_changes_costs_one_challenge(server: PowServer) -> None:
    auth = PowAuth(token="e30.e30.sig")
    for number in range(6):
        server.subject = "first" if number < 3 else "second"
        assert requests.post(f"{server.url}/named", data=str(number), auth=auth, timeout=10).status_code == 200
    kinds = [request.headers.get("pow-solution", "none").split(".")[0].split(" ")[0] for request in server.requests]
    assert [kind if kind in ("none", "prepaid") else "token" for kind in kinds] == [
        *("none", "token", "prepaid", "prepaid"),
        *("prepaid", "token", "prepaid", "prepaid"),
    ]
    assert resources(server) == {"echo@9f2c41/first", "echo@9f2c41/second"}


def test_without_key_and_token_the_announced_subject_is_paid_for(server: PowServer) -> None:
    server.subject = SUBJECT
    auth = PowAuth()
    for number in range(3):
        assert requests.post(f"{server.url}/named", data=str(number), auth=auth, timeout=10).status_code == 200
    assert resources(server) == {f"echo@9f2c41/{SUBJECT}"}
    assert not any("x-api-key" in request.headers or "pow-identity" in request.headers for request in server.requests)


@pytest.mark.parametrize("path", ["moved", "paid-moved"])
def test_another_origin_gets_no_token(adapter: Adapter, server: PowServer, path: str) -> None:
    with running(PowServer()) as stranger:
        server.target = f"{stranger.url}/free"
        assert adapter.post(f"{server.url}/{path}", b"x", key=None, token="e30.e30.sig").content == b"x"
        (request,) = stranger.requests
    assert {"pow-identity", "pow-solution"}.isdisjoint(request.headers)
    assert server.requests[0].headers["pow-identity"] == "e30.e30.sig"


def test_a_token_that_does_not_arrive_is_named_with_its_header(adapter: Adapter, server: PowServer) -> None:
    with pytest.raises(HeadersDropped, match=r"the token did not arrive.*PoW-Identity"):
        adapter.post(f"{server.url}/keyless", b"x", key=None, token="e30.e30.sig")


@pytest.mark.parametrize("auth", [PowAuth, HttpxPowAuth])
def test_what_cannot_be_sent_is_refused_and_not_repeated(auth: type[PowAuth]) -> None:
    for options in ({"key": "cp_1", "token": "secret"}, {"token": "secret\n"}, {"token": ""}):
        with pytest.raises(UnusableKey) as refused:
            auth(**options)  # type: ignore[arg-type]  # the tests' own mapping
        assert "secret" not in str(refused.value)
    caller = Caller(token=lambda: b"secret")  # type: ignore[arg-type, return-value]  # what programs without types do
    with pytest.raises(UnusableKey, match="the token is bytes, not str"):
        caller.headers()


def test_what_the_function_of_a_token_raises_reaches_the_caller(adapter: Adapter, server: PowServer) -> None:
    def token() -> str:
        raise LookupError("nobody is signed in")

    with pytest.raises(LookupError, match="nobody is signed in"):
        adapter.post(f"{server.url}/paid", b"x", key=None, token=token)
    assert server.requests == []
