"""The client's errors belong to two trees, and can be pickled."""

import pickle
from collections.abc import Callable
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
from tests.support.pow_server import PowServer

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 300


def post(server: PowServer, path: str, body: Any = BODY, **options: Any) -> requests.Response:
    return requests.post(f"{server.url}/{path}", data=body, timeout=30, auth=PowAuth(KEY, **options))


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
