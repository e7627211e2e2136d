"""Every adapter stops at the limits of work and time, and says so."""

import re
import time

import pytest

from calpow.client import (
    TimeLimitExceeded,
    UnsolvableInTime,
    WorkLimitExceeded,
)
from tests.support.adapters import Adapter
from tests.support.pow_server import PowServer
from tests.support.progress import PuzzleCount, no_work

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 300


def test_a_server_that_is_never_satisfied_is_given_up_by_work(adapter: Adapter, server: PowServer) -> None:
    solved, server.seconds = PuzzleCount(), 0.0
    with pytest.raises(WorkLimitExceeded, match="the last solution was refused: no stamps are good enough") as caught:
        adapter.post(f"{server.url}/never", max_hashes=20, progress=solved)
    assert (solved.begun, len(server.requests)) == (10, 11)
    assert caught.value.response.status_code == 402


@pytest.mark.slow
def test_a_server_that_is_never_satisfied_is_given_up_by_time(adapter: Adapter, server: PowServer) -> None:
    began = time.monotonic()
    with pytest.raises(TimeLimitExceeded, match=re.escape("more than the limit of 0.5 s")) as caught:
        adapter.post(f"{server.url}/never", max_seconds=0.5)
    assert 0.4 < time.monotonic() - began < 8
    assert caught.value.response.status_code == 402


def test_the_rest_counts_against_the_limit_of_work(adapter: Adapter, server: PowServer) -> None:
    solved = PuzzleCount()
    with pytest.raises(WorkLimitExceeded, match="about 2,048 hashes, more than the limit of 2,047"):
        adapter.post(f"{server.url}/rising", max_hashes=2047, progress=solved)
    assert solved.begun == 1


def test_work_within_the_limit_is_done_and_no_more(adapter: Adapter, server: PowServer) -> None:
    server.bits, server.count = 5, 16
    assert adapter.post(f"{server.url}/paid", max_hashes=512).status == 200
    with pytest.raises(WorkLimitExceeded, match="512 hashes, more than the limit of 511"):
        adapter.post(f"{server.url}/paid", max_hashes=511, progress=no_work)
    solved = PuzzleCount()
    with pytest.raises(WorkLimitExceeded, match=r"1,024"):
        adapter.post(f"{server.url}/late", max_hashes=1023, progress=solved)
    assert solved.begun == 1


@pytest.mark.slow
def test_work_that_takes_too_long_is_ended(adapter: Adapter, server: PowServer) -> None:
    began = time.monotonic()
    with pytest.raises(TimeLimitExceeded, match=re.escape("more than the limit of 0.3 s")) as caught:
        adapter.post(f"{server.url}/slow", max_hashes=2**40, max_seconds=0.3)
    assert time.monotonic() - began < 8
    assert caught.value.limit == 0.3


@pytest.mark.slow
def test_a_challenge_that_expires_before_it_can_be_solved_is_named(adapter: Adapter, server: PowServer) -> None:
    began = time.monotonic()
    with pytest.raises(UnsolvableInTime, match="expires in") as caught:
        adapter.post(f"{server.url}/brief", max_hashes=2**40)
    assert time.monotonic() - began < 8
    assert 0 < caught.value.seconds_left <= 2


def test_the_limits_hold_for_all_redirects_of_a_request_together(adapter: Adapter, server: PowServer) -> None:
    server.target = "/paid-moved"
    with pytest.raises(adapter.errors):
        adapter.post(f"{server.url}/paid-moved", max_hashes=3 * (server.count << server.bits) - 1)
    assert len({request.headers.get("pow-solution") for request in server.requests} - {None}) <= 2
