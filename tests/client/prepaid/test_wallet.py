"""A wallet pays announced prices beforehand, mints modestly while the client is idle, and survives forks and exits."""

import os
import subprocess
import sys
import threading
import time

import pytest
import requests

from calpow.client import PowAuth
from calpow.client.prepaid.stamps import StampBatch
from calpow.client.prepaid.wallet import MAX_ENDPOINTS, MAX_MINTING_SECONDS, Wallet
from calpow.puzzle.wire import SOLUTION_HEADER
from tests.support.minting import minting_threads, until
from tests.support.pow_server import PowServer
from tests.support.replies import answer, challenge, demand

KEY = "cp_1_secret"
URL = "http://127.0.0.1/predictions/digits"


def wallet_that_knows(price: int, max_hashes: int = 1 << 40) -> Wallet:
    """A wallet after the first request to URL."""
    wallet = Wallet(KEY, max_hashes)
    wallet.learn_from_challenge(URL, demand(), challenge())
    wallet.learn_from_answer(URL, answer(price))
    return wallet


def stock(wallet: Wallet, url: str) -> tuple[StampBatch, ...]:
    endpoint = wallet.endpoint(url)
    assert endpoint is not None
    return endpoint.stock


def post(server: PowServer, auth: PowAuth, *numbers: int) -> list[requests.Response]:
    """Send different payloads, each of which has a challenge of its own."""
    url = f"{server.url}/priced"
    return [requests.post(url, data=b"%d" % number, auth=auth, timeout=30) for number in numbers]


def test_a_url_without_a_challenge_so_far_is_not_paid_beforehand() -> None:
    wallet = Wallet(KEY, 1 << 40)
    wallet.learn_from_answer(URL, answer(1024))
    assert wallet.withdraw(URL) is None


def test_stamps_in_stock_are_withdrawn_once() -> None:
    until(lambda: not minting_threads())  # those of earlier tests end by themselves
    wallet = wallet_that_knows(1024)
    assert stock(wallet, URL) == ()
    assert minting_threads() == []
    wallet.withdraw(URL)
    wallet.mint_in_background(URL)
    until(lambda: not minting_threads())
    first, second = wallet.withdraw(f"{URL}?query"), wallet.withdraw(URL)
    assert first is not None
    assert second is not None
    assert (first.stock_hashes, first.puzzle) == (1024, None)
    assert (second.stock_hashes, second.hashes) == (0, 1024)


def test_a_request_that_comes_before_the_stock_is_full_takes_what_is_there(server: PowServer) -> None:
    server.price = 16 << 14
    auth, url = PowAuth(KEY), f"{server.url}/priced"
    post(server, auth, 0, 1)
    until(lambda: stock(auth._wallet, url))
    held = stock(auth._wallet, url)[0].stamps
    (response,) = post(server, auth, 2)
    assert response.history == []
    assert set(held) < set(str(response.request.headers[SOLUTION_HEADER]).split())


def test_minting_that_takes_too_long_is_given_up_until_the_price_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calpow.client.prepaid.wallet.MAX_MINTING_SECONDS", 0.2)
    wallet = wallet_that_knows(16 << 22)
    wallet.withdraw(URL)
    wallet.mint_in_background(URL)
    assert minting_threads()
    until(lambda: not minting_threads())
    wallet.mint_in_background(URL)
    assert minting_threads() == []
    wallet.learn_from_answer(URL, answer(1024))
    until(lambda: sum(batch.hashes for batch in stock(wallet, URL)) >= 1024)


def test_a_price_within_the_limit_that_stamps_would_exceed_is_left_to_the_challenge(server: PowServer) -> None:
    auth = PowAuth(KEY, max_hashes=1000)
    server.price = server.announced = 1000  # a challenge of 992, and stamps of 1024
    for number in range(3):
        (response,) = post(server, auth, number)
        assert [response.status_code, len(response.history)] == [200, 1]
        until(lambda: not minting_threads())


def test_the_least_recently_used_url_is_forgotten_first() -> None:
    wallet = Wallet(KEY, 1 << 20)
    for number in range(2 * MAX_ENDPOINTS):
        for url in ("http://a/often", f"http://a/{number}"):
            wallet.learn_from_challenge(url, demand(), challenge())
    known = [number for number in range(2 * MAX_ENDPOINTS) if wallet.endpoint(f"http://a/{number}") is not None]
    assert known == list(range(MAX_ENDPOINTS + 1, 2 * MAX_ENDPOINTS))
    assert wallet.endpoint("http://a/often") is not None


def test_an_answer_is_handed_over_also_where_no_thread_can_be_started(
    server: PowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        if thread.name == "calpow-minter":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert [response.content for response in post(server, PowAuth(KEY), 0, 1, 2)] == [b"0", b"1", b"2"]


def test_a_fork_s_child_has_its_own_stamps(server: PowServer) -> None:
    auth = PowAuth(KEY)
    post(server, auth, 0, 1, 2)
    until(lambda: not minting_threads())
    with auth._wallet._lock.get():  # as another thread may hold it
        pid = os.fork()
        if pid == 0:  # nothing but an exit code may leave the child
            code = 1
            try:
                responses = post(server, auth, 3, 4, 5)
                code = (
                    0
                    if [(response.status_code, len(response.history)) for response in responses] == [(200, 0)] * 3
                    else 2
                )
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert post(server, auth, 6)[0].history == []


@pytest.mark.slow
def test_minting_keeps_no_program_from_ending(server: PowServer) -> None:
    program = f"""
import threading, requests
from calpow.client import PowAuth
with requests.Session() as session:
    session.auth = PowAuth("{KEY}")
    for number in range(2):
        session.post("{server.url}/priced", data=b"%d" % number, timeout=30).raise_for_status()
        input()
print([thread.name for thread in threading.enumerate()])
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    until(lambda: len(server.requests) == 2)
    time.sleep(0.2)
    server.announced = 16 << 23
    print(file=child.stdin, flush=True)
    until(lambda: len(server.requests) == 3)
    time.sleep(0.2)
    began = time.monotonic()
    output, errors = child.communicate("\n", timeout=30)
    assert time.monotonic() - began < MAX_MINTING_SECONDS  # it may be compiling, which cannot be stopped
    assert ("calpow-minter" in output, errors, child.returncode) == (True, "", 0)


def test_a_payment_fits_into_a_header(server: PowServer) -> None:
    auth = PowAuth(KEY)
    for number in range(4):
        server.price = (16 + 5 * number) << 6
        (response,) = post(server, auth, number)
        assert len(str(response.request.headers[SOLUTION_HEADER])) < 7000
